// SPDX-License-Identifier: Apache-2.0
// Normalisation layers of a model file.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

std::vector<LayerKind> norm_layers() { return {}; }

}  // namespace tanul::recipe
