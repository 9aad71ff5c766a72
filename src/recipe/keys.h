// SPDX-License-Identifier: Apache-2.0
// Every key that a model file may hold, in one place (those of layers and losses come from
// layer_kind.h): the readers refuse all others, and a test checks that docs/MODEL.md describes each.
#pragma once

#include <string>
#include <vector>

namespace tanul::recipe {

using Keys = std::vector<std::string>;

// One table of the model file and its keys.
struct KeySet {
  std::string name;  // "conv2d", "train", …
  Keys keys;
};

const std::vector<KeySet>& all_key_sets();

// The keys of a table. Throws Error{internal} for a name that is not listed.
const Keys& keys_of(const std::string& name);

// The names that can stand where a layer, a loss, an initialiser, … is expected.
const Keys& layer_kinds();
const Keys& loss_kinds();
const Keys& init_kinds();
const Keys& optimizer_kinds();
const Keys& schedule_kinds();

}  // namespace tanul::recipe
