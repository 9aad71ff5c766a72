// SPDX-License-Identifier: Apache-2.0
// Finds and loads backends that live in a module. Five outcomes are told apart, each with its reason; a
// machine without the module, a driver or a GPU is no error here.
#pragma once

#include <string>
#include <vector>

#include "kernels/backend_module.h"

namespace tanul {

enum class ModuleOutcome {
  not_found,    // there is no such file
  cannot_load,  // the file is no library, or one that needs what is not there
  mismatch,     // no module of tanul, or that of another build
  no_device,    // no driver, one that is too old, or no GPU that its code runs on
  ok,
};

struct LoadedModule {
  ModuleOutcome outcome = ModuleOutcome::not_found;
  std::string path;                       // "" where nothing was found
  std::string reason;                     // one line, "" where ok
  std::string detail;                     // more of it, for who asked for a GPU: " (no file …)"
  const BackendModule* module = nullptr;  // where ok or no_device
  int first_device = -1;                  // that can be used, where ok
};

// Where libtanul-cuda.so is looked for, in this order. `from_environment`, the value of
// TANUL_CUDA_MODULE or null, is a path and then the only one; otherwise the folder of libtanul.so (of
// the program that has the library inside), ../lib and ../lib/tanul beside it. Never the current directory.
std::vector<std::string> module_paths(const char* from_environment,
                                      const std::string& library_folder);

// Loads the first of `paths` that exists. What was loaded stays loaded.
LoadedModule load_module(const std::vector<std::string>& paths);

// The same for a table that is there already.
LoadedModule look_at_module(const BackendModule* module, const std::string& path);

// The CUDA module of this process: looked for at the first call. Threads may call it together.
const LoadedModule& cuda_module();

// Why device `index` of a module cannot be used; "" where it can.
std::string why_not_device(const LoadedModule& loaded, int index);

// Puts another table in the place of the CUDA module while it lives: for tests, which have devices that
// are none. One at a time.
class ModuleInPlace {
 public:
  explicit ModuleInPlace(const BackendModule* module);
  ~ModuleInPlace();
  ModuleInPlace(const ModuleInPlace&) = delete;
  ModuleInPlace& operator=(const ModuleInPlace&) = delete;

 private:
  LoadedModule loaded_;
};

}  // namespace tanul
