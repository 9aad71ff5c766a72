// SPDX-License-Identifier: Apache-2.0
#include "recipe/layers.h"

#include <algorithm>

#include "core/suggest.h"
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

// Null for a block.
const LayerKind* find_kind(const std::string& name) {
  for (const LayerKind& kind : all_layers()) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

}  // namespace

const std::vector<LayerKind>& all_layers() {
  static const std::vector<LayerKind> all = [] {
    std::vector<LayerKind> kinds;
    for (const auto& group :
         {conv_layers(), pool_layers(), norm_layers(), activation_layers(), shape_layers()}) {
      kinds.insert(kinds.end(), group.begin(), group.end());
    }
    return kinds;
  }();
  return all;
}

std::string OptionReader::choice(const char* key, const std::vector<std::string>& choices) {
  std::string value = reader_.text(key, choices.front());
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    std::string possible;
    for (const std::string& c : choices) possible += (possible.empty() ? "" : ", ") + quoted(c);
    fail_at(reader_.source(), reader_.where(key), "{}: {} must be one of {}, got {}",
            reader_.what(), key, possible, quoted(value));
  }
  append(key, quoted(value));
  return value;
}

std::string name_stem(const std::string& kind) {
  const LayerKind* layer = find_kind(kind);
  return layer == nullptr ? kind : layer->stem;
}
size_t least_inputs(const std::string& kind) {
  const LayerKind* layer = find_kind(kind);
  return layer == nullptr ? 1 : layer->inputs.least;
}
size_t most_inputs(const std::string& kind) {
  const LayerKind* layer = find_kind(kind);
  return layer == nullptr ? 1 : layer->inputs.most;
}

MadeLayer make_layer(ModelBuilder& builder, const Source& source, const std::string& kind,
                     const TomlNode* options, const Where& where, const std::string& name,
                     const std::vector<Var>& inputs) {
  TomlNode none;  // so that a missing key has a place even where only the layer's name stands
  none.where = where;
  const LayerKind* layer = find_kind(kind);
  if (layer == nullptr) fail(Code::internal, "there is no layer kind \"{}\"", kind);
  const TableReader reader(source, options == nullptr ? &none : options,
                           fmt::format("{} \"{}\"", kind, name), layer->keys);
  OptionReader resolved(reader);
  const Var out = layer->make({builder, resolved, kind, name, inputs});
  return {out, resolved.text()};
}

std::string make_loss(ModelBuilder& builder, const Source& source, const TomlNode& node, Var x) {
  const Choice choice = read_choice(source, node, "loss", loss_kinds());
  for (const LossKindInfo& loss : all_losses()) {
    if (loss.name != choice.kind) continue;
    TomlNode none;
    none.where = choice.where;
    const TableReader reader(source, choice.options == nullptr ? &none : choice.options,
                             "loss " + choice.kind, loss.keys);
    OptionReader resolved(reader);
    try {
      loss.make({builder, resolved, x});
    } catch (const Error& e) {
      if (e.code() == Code::format) throw;  // has its place
      throw Error(e.code(), source.place(choice.where) + ": " + e.what());
    }
    return fmt::format("{{ {} = {} }}", choice.kind, resolved.text());
  }
  fail(Code::internal, "the loss \"{}\" cannot be made", choice.kind);
}

}  // namespace tanul::recipe
