// SPDX-License-Identifier: Apache-2.0
// From what the user says about data to the three parts that a run works on.
#pragma once

#include <string>

#include "tanul/data.h"
#include "tanul/recipe.h"

namespace tanul::cli {

// ~/.cache/tanul/NAME, below $XDG_CACHE_HOME where that is set.
std::string download_folder(const std::string& name);

// The folder that `text` means: a folder, or the name of a known data set that is installed or
// downloaded. Throws Error{not_found} that says how to get it.
std::string find_data_folder(const std::string& text);

// The data set with its parts as the recipe wants them: test (where the set brings none) and
// validation are drawn from the training part with the recipe's seed. Throws Error{invalid_argument}
// where the samples or classes do not fit the model.
Dataset load_parts(const std::string& folder, const Recipe& recipe);

}  // namespace tanul::cli
