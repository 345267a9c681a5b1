#include "mpeft/peft/target.h"

#include <algorithm>
#include <cctype>
#include <memory>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "peft/suggest.h"

namespace mpeft::peft {
namespace {

void add_projection(std::vector<Target>& targets, const std::string& parent, const std::string& name, int64_t layer,
                    const model::Projection& projection) {
  const auto add = [&](const std::string& target_name, int64_t rows, bool is_slice) {
    Target target;
    target.path = parent.empty() ? target_name : parent + "." + target_name;
    target.name = target_name;
    target.layer = layer;
    target.in_features = projection->options().in_features;
    target.out_features = rows;
    target.projection = projection;
    target.is_slice = is_slice;
    targets.push_back(std::move(target));
  };
  add(name, projection->options().out_features, false);
  for (const auto& slice : projection->options().slices) add(slice.name, slice.end - slice.begin, true);
}

// PEFT's rule for a list of names: the whole path or a dotted suffix of it.
bool has_suffix(const std::string& path, const std::string& name) { return path == name || path.ends_with("." + name); }

std::string canonical(std::string name) {
  if (name == "embedding" || name.ends_with(".embedding")) name += "s";
  return name;
}

bool is_excluded(const Target& target, const TargetSelection& selection, const std::string& where) {
  if (!selection.exclude_regex.empty() && full_match(selection.exclude_regex, target.path, where)) return true;
  return std::any_of(selection.exclude_names.begin(), selection.exclude_names.end(),
                     [&](const auto& name) { return has_suffix(target.path, canonical(name)); });
}

bool in_layers(const Target& target, const TargetSelection& selection) {
  return selection.layers.empty() ||
         std::find(selection.layers.begin(), selection.layers.end(), target.layer) != selection.layers.end();
}

void reject_shared_rows(const std::vector<Target>& selected, const std::string& where) {
  for (const auto& whole : selected) {
    if (whole.is_slice || !whole.projection) continue;
    for (const auto& other : selected) {
      if (other.is_slice && other.projection.ptr() == whole.projection.ptr()) {
        throw ConfigError(
            mpeft::str(where, ": target_modules: ", other.path, " is part of ", whole.path, ": name one of them"));
      }
    }
  }
}

std::vector<std::string> paths_of(const std::vector<Target>& all) {
  std::vector<std::string> paths;
  for (const auto& target : all) paths.push_back(target.path);
  return paths;
}

bool matches_any(const std::vector<Target>& all, const std::string& name) {
  return std::any_of(all.begin(), all.end(), [&](const Target& t) { return has_suffix(t.path, canonical(name)); });
}

std::string no_match(const std::vector<Target>& all, const std::string& name, const std::string& where) {
  if (matches_any(all, name)) {
    return mpeft::str(where, ": target_modules: '", name,
                      "' matches modules, but none that layers_to_transform and exclude_modules leave");
  }
  return mpeft::str(where, ": target_modules: '", name, "' matches no module",
                    suggest(name, ends_like(name, paths_of(all))));
}

// What a regular expression ends with is most often a module's name: "q_proj" of ".*q_proj".
std::string last_word(const std::string& regex) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  const auto end = std::find_if(regex.rbegin(), regex.rend(), is_word);
  return {std::find_if_not(end, regex.rend(), is_word).base(), end.base()};
}

std::string no_regex_match(const std::vector<Target>& all, const TargetSelection& selection, const std::string& where) {
  const bool is_left_out =
      std::any_of(all.begin(), all.end(), [&](const Target& t) { return full_match(selection.regex, t.path, where); });
  const std::string word = last_word(selection.regex);
  return mpeft::str(where, ": target_modules: '", selection.regex,
                    is_left_out ? "' matches modules, but none that layers_to_transform and exclude_modules leave"
                                : "' matches no module" + suggest(word, ends_like(word, paths_of(all))) +
                                      "; paths look like " + all[1].path);
}

// A mistyped exclusion would train what it should leave out; PEFT lets it pass, and so do we in what it saved.
void check_exclusions(const std::vector<Target>& all, const TargetSelection& selection, const std::string& where,
                      std::vector<std::string>& problems) {
  if (selection.is_saved) return;
  for (const auto& name : selection.exclude_names) {
    if (matches_any(all, name)) continue;
    problems.push_back(mpeft::str(where, ": exclude_modules: '", name, "' matches no module",
                                  suggest(name, ends_like(name, paths_of(all)))));
  }
  const std::string& regex = selection.exclude_regex;
  if (regex.empty()) return;
  const std::string place = where + ": exclude_modules";
  if (std::none_of(all.begin(), all.end(), [&](const Target& t) { return full_match(regex, t.path, place); }))
    problems.push_back(mpeft::str(place, ": '", regex, "' matches no module; paths look like ", all[1].path));
}

}  // namespace

std::vector<Target> list_targets(model::MambaLM& model) {
  std::vector<Target> targets;
  Target embedding;
  embedding.path = "backbone.embeddings";
  embedding.name = "embeddings";
  embedding.in_features = model->config().vocab_size;
  embedding.out_features = model->config().d_model;
  embedding.embedding = model->backbone->embeddings;
  targets.push_back(embedding);
  for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
    const auto& mixer = model->backbone->layers[i]->mixer;
    const std::string parent = mpeft::str("backbone.layers.", i, ".mixer");
    const auto layer = static_cast<int64_t>(i);
    add_projection(targets, parent, "in_proj", layer, mixer->in_proj);
    Target conv;
    conv.path = parent + ".conv1d";
    conv.name = "conv1d";
    conv.layer = layer;
    conv.in_features = model->config().d_conv;
    conv.out_features = model->config().d_inner();
    conv.conv = mixer->conv1d;
    targets.push_back(std::move(conv));
    add_projection(targets, parent, "x_proj", layer, mixer->x_proj);
    add_projection(targets, parent, "dt_proj", layer, mixer->dt_proj);
    add_projection(targets, parent, "out_proj", layer, mixer->out_proj);
  }
  add_projection(targets, "", "lm_head", -1, model->lm_head);
  return targets;
}

std::vector<Target> select_targets(model::MambaLM& model, const TargetSelection& selection, const std::string& where) {
  const auto all = list_targets(model);
  const auto in_scope = [&](const Target& t) { return in_layers(t, selection) && !is_excluded(t, selection, where); };
  std::vector<bool> chosen(all.size(), false);
  std::vector<std::string> problems;
  for (const int64_t layer : selection.layers) {
    if (layer < 0 || layer >= model->config().n_layer) {
      problems.push_back(mpeft::str(where, ": layers_to_transform: ", layer, " is not a layer: the model has 0 to ",
                                    model->config().n_layer - 1));
    }
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));  // nothing lies in layers that are not there
  check_exclusions(all, selection, where, problems);
  if (selection.regex == "all-linear") {
    for (size_t i = 0; i < all.size(); ++i)
      chosen[i] = all[i].layer >= 0 && all[i].projection && !all[i].is_slice && in_scope(all[i]);
  } else if (!selection.regex.empty()) {
    for (size_t i = 0; i < all.size(); ++i)
      chosen[i] = full_match(selection.regex, all[i].path, where) && in_scope(all[i]);
    if (std::find(chosen.begin(), chosen.end(), true) == chosen.end())
      problems.push_back(no_regex_match(all, selection, where));
  }
  for (const auto& name : selection.names) {
    bool matched = false;
    for (size_t i = 0; i < all.size(); ++i) {
      if (has_suffix(all[i].path, canonical(name)) && in_scope(all[i])) {
        chosen[i] = true;
        matched = true;
      }
    }
    if (!matched) problems.push_back(no_match(all, name, where));
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));

  std::vector<Target> selected;
  for (size_t i = 0; i < all.size(); ++i) {
    if (chosen[i]) selected.push_back(all[i]);
  }
  if (selected.empty()) throw ConfigError(where + ": target_modules: selects nothing");
  reject_shared_rows(selected, where);
  return selected;
}

bool full_match(const std::string& pattern, const std::string& text, const std::string& where) {
  // PCRE2 rather than std::regex: adapter files come from outside, and its match limits bound what a pattern can cost.
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &offset, nullptr),
      pcre2_code_free);
  if (!code)
    throw ConfigError(
        mpeft::str(where, ": '", pattern, "' is not a regular expression (error at character ", offset + 1, ")"));
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), 100000);
  const int rc =
      pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data.get(), context.get());
  if (rc == PCRE2_ERROR_MATCHLIMIT) throw ConfigError(mpeft::str(where, ": '", pattern, "' takes too long to match"));
  return rc >= 0;
}

}  // namespace mpeft::peft
