#!/usr/bin/env python3
"""Writes tests/golden/eval: what transformers' generate and logits warpers make of the a tiny model.

model           the model: as golden/model's, but with a head of its own (a tied one repeats its last token for ever)
generate.json   cases: options, and for each prompt the new ids (end token included) and the score
filters.safetensors   logits, and per configuration of filters.json what the warpers leave of them

Only cases that do not hang on the last bits are kept: weights moved by 1e-5 relative have to give the same texts.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

MAX_NEW_TOKENS = 12
SEED = 17
PROMPT_LENGTHS = [7, 7, 3, 11, 1, 7, 5, 7]


def continue_prompt(model, prompts, eos, options):
    """New ids and score of each of the equally long prompts."""
    ids = torch.tensor(prompts)
    arguments = dict(max_new_tokens=MAX_NEW_TOKENS, num_beams=options["num_beams"], do_sample=False,
                     pad_token_id=0, eos_token_id=eos, attention_mask=torch.ones_like(ids),
                     return_dict_in_generate=True, output_scores=True)
    if options.get("min_new_tokens"):
        arguments["min_new_tokens"] = options["min_new_tokens"]
    if options["num_beams"] > 1:
        arguments |= dict(length_penalty=options["length_penalty"], early_stopping=options["early_stopping"])
    with torch.no_grad():
        out = model.generate(ids, **arguments)
    results = []
    for row, sequence in enumerate(out.sequences[:, ids.shape[1]:].tolist()):
        if eos is not None and eos in sequence:
            sequence = sequence[:sequence.index(eos) + 1]
        if options["num_beams"] > 1:
            score = float(out.sequences_scores[row])
        else:
            whole = torch.tensor([prompts[row] + sequence])
            with torch.no_grad():
                log_probs = model(whole, use_cache=False).logits.log_softmax(-1)[0]
            picked = log_probs[len(prompts[row]) - 1:-1].gather(1, torch.tensor(sequence)[:, None])
            score = float(picked.sum()) / len(sequence)
        results.append((sequence, score))
    return results


def make_model():
    return tiny_model.make(SEED, tie_word_embeddings=False)


def perturbed(seed):
    model = make_model()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 1e-5 * torch.randn(p.shape, generator=g))
    return model


def pick_eos(model, prompts):
    """The id at which greedy texts end at the most different steps."""
    texts = [continue_prompt(model, [p], None, {"num_beams": 1})[0][0] for p in prompts]
    spread = lambda eos: len({t.index(eos) for t in texts if eos in t}) + any(eos not in t for t in texts)
    return max(range(model.config.vocab_size), key=lambda eos: (spread(eos), -eos))


def generation_cases():
    torch.set_num_threads(1)  # the tensors are tiny
    model, others = make_model(), [perturbed(1)]
    g = torch.Generator().manual_seed(3)
    prompts = [torch.randint(0, model.config.vocab_size, (n,), generator=g).tolist() for n in PROMPT_LENGTHS]
    eos = pick_eos(model, prompts)
    cases, n_fragile = [], 0
    for num_beams in (1, 2, 5):
        variants = [{}, {"min_new_tokens": 5}, {"eos": False}]
        if num_beams > 1:
            variants += [{"early_stopping": True}, {"length_penalty": 0.0}, {"length_penalty": 2.0}]
        for variant in variants:
            options = {"num_beams": num_beams, "min_new_tokens": 0, "length_penalty": 1.0, "early_stopping": False,
                       **{k: v for k, v in variant.items() if k != "eos"}}
            case_eos = eos if variant.get("eos", True) else None
            kept = []
            for prompt in prompts:
                (ids, score), = continue_prompt(model, [prompt], case_eos, options)
                if any(continue_prompt(other, [prompt], case_eos, options)[0][0] != ids for other in others):
                    n_fragile += 1
                    continue
                kept.append({"prompt": prompt, "ids": ids, "score": score})
            # transformers' own batch of equally long prompts gives the same: the result belongs to the prompt.
            same = [k for k in kept if len(k["prompt"]) == 7][:4]
            together = continue_prompt(model, [k["prompt"] for k in same], case_eos, options)
            assert [k["ids"] for k in same] == [ids for ids, _ in together], (options, same, together)
            cases.append({"options": {**options, "max_new_tokens": MAX_NEW_TOKENS, "eos_id": case_eos}, "prompts": kept})
    lengths = {k: sorted({len(p["ids"]) for c in cases if c["options"]["num_beams"] == k for p in c["prompts"]})
               for k in (1, 2, 5)}
    print("end token", eos, "text lengths by beams", lengths, "fragile", n_fragile)
    assert all(len(v) >= 3 for v in lengths.values()) and n_fragile < 10
    return {"cases": cases}


def filter_cases():
    g = torch.Generator().manual_seed(4)
    logits = torch.randn(5, 41, generator=g) * 3
    logits[1, 10:20] = logits[1].max()      # ties at the top
    logits[2, :] = 0.25                     # uniform
    logits[3, 5:] = -float("inf")           # most is forbidden already
    configurations = [{"top_k": 1}, {"top_k": 5}, {"top_k": 100}, {"top_p": 0.9}, {"top_p": 0.01},
                      {"temperature": 0.7}, {"temperature": 1.7, "top_k": 12, "top_p": 0.8}, {"temperature": 0.2, "top_p": 0.5}]
    tensors = {"logits": logits}
    for i, c in enumerate(configurations):
        warpers = LogitsProcessorList()
        if "temperature" in c:
            warpers.append(TemperatureLogitsWarper(c["temperature"]))
        if "top_k" in c:
            warpers.append(TopKLogitsWarper(c["top_k"]))
        if "top_p" in c:
            warpers.append(TopPLogitsWarper(c["top_p"]))
        tensors[f"filtered.{i}"] = warpers(torch.zeros(5, 1, dtype=torch.long), logits.clone()).contiguous()
    return configurations, tensors


def main(golden):
    folder = golden / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    make_model().save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    (folder / "generate.json").write_text(json.dumps(generation_cases(), separators=(",", ":")) + "\n")
    configurations, tensors = filter_cases()
    (folder / "filters.json").write_text(json.dumps(configurations) + "\n")
    save_file(tensors, folder / "filters.safetensors")
    for path in folder.rglob("*.*"):
        path.chmod(0o644)
    return [folder / n for n in ("model/config.json", "model/model.safetensors", "generate.json", "filters.json", "filters.safetensors")]


if __name__ == "__main__":
    for path in main(pathlib.Path(__file__).parents[2] / "tests" / "golden"):
        print(path, path.stat().st_size)
