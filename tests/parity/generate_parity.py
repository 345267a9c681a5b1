#!/usr/bin/env python3
"""Compares `mpeft generate` with transformers' generate: greedy and beam search in fp32 on a random model.

    python3 tests/parity/generate_parity.py --bin-dir build/release/bin [--tokenizer tokenizer.json]

Ids must be equal and scores agree to 1e-4, one prompt at a time and in batches. A text whose choice hangs on the last bits
(transformers itself gives another one when its weights move by 1e-6) is left out and counted.
"""

import json

from parity_tools import ROOT, Table, executable, json_lines, parse_arguments, require, run, single_thread, skip, temporary_folder

single_thread()
require("torch", "transformers", "tokenizers")
import torch  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

import tiny_model  # noqa: E402

PROMPTS = ["capital : Oslo : Norway###", "a", "The river runs through", "population : Oslo : 709037 | capital : Oslo : Norway###",
           "Zürich", "2 + 2 =", "one two three four five six seven", "city : Bergen"]
MAX_NEW_TOKENS = 24


def reference(model, ids, num_beams, eos):
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), num_beams=num_beams,
                             do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=eos, pad_token_id=eos,
                             return_dict_in_generate=True, output_scores=True)
        new = out.sequences[0, len(ids):].tolist()
        if eos in new:
            new = new[:new.index(eos) + 1]
        if num_beams > 1:
            return new, float(out.sequences_scores[0])
        log_probs = model(torch.tensor([ids + new]), use_cache=False).logits[0].log_softmax(-1)[len(ids) - 1:-1]
    return new, float(log_probs.gather(1, torch.tensor(new)[:, None]).mean())


def main():
    def add(parser):
        parser.add_argument("--tokenizer", default=ROOT / "data/sample/tokenizer.json")
    arguments = parse_arguments(__doc__, add)
    mpeft = executable(arguments, "mpeft")
    try:
        tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    except Exception as error:  # the package raises its own bare Exception
        skip(f"{arguments.tokenizer}: {error}")
    eos = tokenizer.token_to_id("<|endoftext|>")
    # As many rows as tokens: ids that pad a vocabulary are never chosen by mpeft, but may be by transformers.
    size = dict(vocab_size=tokenizer.get_vocab_size(), hidden_size=64, num_hidden_layers=3, tie_word_embeddings=False)
    model, moved = tiny_model.make(5, **size), tiny_model.make(5, **size)
    with torch.no_grad():
        for m in (model, moved):
            m.lm_head.weight[eos] *= 2  # so that some texts end
            m.lm_head.weight[eos] += 0.05
        for p in moved.parameters():
            p.mul_(1 + 1e-6 * torch.randn(p.shape, generator=torch.Generator().manual_seed(6)))
    prompts = [tokenizer.encode(text).ids for text in PROMPTS]
    table = Table(f"generate parity: {len(prompts)} prompts, at most {MAX_NEW_TOKENS} new tokens")
    n_ended = n_fragile = 0
    with temporary_folder() as folder:
        model.save_pretrained(folder)
        for num_beams in (1, 2, 5):
            expected = [reference(model, ids, num_beams, eos) for ids in prompts]
            steady = [reference(moved, ids, num_beams, eos)[0] == new for ids, (new, _) in zip(prompts, expected)]
            n_fragile += steady.count(False)
            n_ended += sum(eos in new for new, _ in expected)
            for batch_size in (1, 3, 8):
                lines = run([mpeft, "generate", "--model", folder, "--tokenizer", arguments.tokenizer, "--num-beams", num_beams, "--prec",
                             "fp32", "--max-new-tokens", MAX_NEW_TOKENS, "--batch-size", batch_size, "--device", arguments.device],
                            json_lines(PROMPTS)).splitlines()
                results = [json.loads(line) for line in lines]
                name = f"beams {num_beams}, batch {batch_size}"
                table.holds(f"{name}: prompts in order", [r["prompt"] for r in results] == PROMPTS)
                pairs = [(r, e) for r, e, ok in zip(results, expected, steady) if ok]
                same = sum(r["ids"] == new for r, (new, _) in pairs)
                table.holds(f"{name}: ids", same == len(pairs), f"{same} of {len(pairs)} equal")
                table.at_most(f"{name}: scores", max(abs(r["score"] - score) for r, (_, score) in pairs), 1e-4)
    table.holds("the comparison says something: texts that end early, few on the edge", n_ended >= 3 and n_fragile <= 4,
                f"{n_ended} ended, {n_fragile} left out")
    table.finish()


if __name__ == "__main__":
    main()
