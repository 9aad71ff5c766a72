// SPDX-License-Identifier: Apache-2.0
// One layer: its options read from a table, made through ModelBuilder, written out resolved.
#pragma once

#include <string>
#include <vector>

#include "recipe/reader.h"
#include "tanul/model.h"

namespace tanul::recipe {

struct MadeLayer {
  Var out;
  std::string options;  // resolved: `{ out = 6, kernel = [5, 5], … }`
};

// What a layer of `kind` is called when its file gives no name: conv2d -> conv, as in ModelBuilder.
std::string name_stem(const std::string& kind);

// How many inputs a layer of `kind`, or a block, takes.
size_t least_inputs(const std::string& kind);
size_t most_inputs(const std::string& kind);

// `options` may be null. Errors of ModelBuilder pass through without a place.
MadeLayer make_layer(ModelBuilder& builder, const Source& source, const std::string& kind,
                     const TomlNode* options, const Where& where, const std::string& name,
                     const std::vector<Var>& inputs);

// Ends the network with its loss and returns the resolved table.
std::string make_loss(ModelBuilder& builder, const Source& source, const TomlNode& node, Var x);

}  // namespace tanul::recipe
