// SPDX-License-Identifier: Apache-2.0
#include "backend/module_loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/format.h"

namespace tanul {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "libtanul-cuda.so";
constexpr const char* kVariable = "TANUL_CUDA_MODULE";

std::atomic<const LoadedModule*> in_place{nullptr};

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The folder of the library (or program) that holds this function; "" where the system does not say.
std::string folder_of_this_library() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&cuda_module), &info) == 0 ||
      info.dli_fname == nullptr) {
    return {};
  }
  std::error_code failed;
  const fs::path path = fs::canonical(info.dli_fname, failed);
  return failed ? std::string{} : path.parent_path().string();
}

std::string join(const std::vector<std::string>& paths) {
  std::string text;
  for (const std::string& path : paths) text += (text.empty() ? "" : " or ") + path;
  return text;
}

// dlerror's text begins with the path, which the message has already.
std::string loader_error(const std::string& path) {
  const char* text = dlerror();
  std::string reason = text != nullptr ? text : "unknown reason";
  if (reason.rfind(path + ": ", 0) == 0) reason.erase(0, path.size() + 2);
  return reason;
}

std::string mismatch_of(const BackendModule& module) {
  if (module.abi_version != kBackendAbiVersion || module.table_bytes != sizeof(BackendModule)) {
    return fmt::format("its interface has version {} ({} bytes), this library's {} ({} bytes)",
                       module.abi_version, module.table_bytes, kBackendAbiVersion,
                       sizeof(BackendModule));
  }
  if (module.ops_hash != kOpsHash) {
    return fmt::format("its list of steps is another one ({:016x}, this library's is {:016x})",
                       module.ops_hash, kOpsHash);
  }
  if (std::strcmp(module.version, TANUL_VERSION) != 0) {
    return fmt::format("it is of tanul {}, this library is {}", module.version, TANUL_VERSION);
  }
  return {};
}

}  // namespace

std::vector<std::string> module_paths(const char* from_environment,
                                      const std::string& library_folder) {
  if (from_environment != nullptr && *from_environment != '\0') {
    // Without a slash dlopen would search; with one it opens what is named.
    return {fs::absolute(from_environment).string()};
  }
  if (library_folder.empty()) return {};
  const fs::path folder(library_folder);
  std::vector<std::string> paths;
  for (const fs::path& place : {folder, folder / ".." / "lib", folder / ".." / "lib" / "tanul"}) {
    const std::string path = (place / kFileName).lexically_normal().string();
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  return paths;
}

LoadedModule load_module(const std::vector<std::string>& paths) {
  LoadedModule loaded;
  for (const std::string& path : paths) {
    if (is_file(path)) {
      loaded.path = path;
      break;
    }
  }
  if (loaded.path.empty()) {
    loaded.reason = "the CUDA module is not installed";
    loaded.detail = paths.empty() ? " (this library does not know where it lies)"
                                  : " (no file " + join(paths) + ")";
    return loaded;
  }
  void* library = dlopen(loaded.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    loaded.outcome = ModuleOutcome::cannot_load;
    loaded.reason = fmt::format("{} cannot be loaded: {}", loaded.path, loader_error(loaded.path));
    return loaded;
  }
  const auto entry = reinterpret_cast<BackendEntry>(dlsym(library, kBackendSymbol));
  if (entry == nullptr) {
    loaded.outcome = ModuleOutcome::mismatch;
    loaded.reason =
        fmt::format("{} is no module of tanul: it has no {}", loaded.path, kBackendSymbol);
    dlclose(library);
    return loaded;
  }
  return look_at_module(entry(), loaded.path);
}

LoadedModule look_at_module(const BackendModule* module, const std::string& path) {
  LoadedModule loaded;
  loaded.path = path;
  const std::string mismatch = module == nullptr ? "it has no table" : mismatch_of(*module);
  if (!mismatch.empty()) {
    loaded.outcome = ModuleOutcome::mismatch;
    loaded.reason = fmt::format("{} is of another build: {}", path, mismatch);
    return loaded;
  }
  loaded.module = module;
  loaded.outcome = ModuleOutcome::no_device;
  int32_t count = 0;
  if (module->device_count(module, &count) != 0) {
    loaded.reason = module->last_error(module);
    return loaded;
  }
  std::string first_reason;
  for (int32_t i = 0; i < count; ++i) {
    const std::string why = why_not_device(loaded, i);
    if (why.empty()) {
      loaded.outcome = ModuleOutcome::ok;
      loaded.first_device = i;
      return loaded;
    }
    if (first_reason.empty()) first_reason = why;
  }
  loaded.reason = first_reason.empty() ? "there is no GPU" : first_reason;
  return loaded;
}

std::string why_not_device(const LoadedModule& loaded, int index) {
  if (loaded.module == nullptr) return loaded.reason + loaded.detail;
  const BackendModule& module = *loaded.module;
  int32_t count = 0;
  if (module.device_count(&module, &count) != 0) return module.last_error(&module);
  if (index >= count) {
    return fmt::format("there {} {} GPU{}", count == 1 ? "is" : "are", count,
                       count == 1 ? "" : "s");
  }
  ModuleDeviceInfo info;
  if (module.device_info(&module, index, &info) != 0) return module.last_error(&module);
  return info.why_not;
}

const LoadedModule& cuda_module() {
  if (const LoadedModule* other = in_place.load()) return *other;
  static const LoadedModule loaded =
      load_module(module_paths(std::getenv(kVariable), folder_of_this_library()));
  return loaded;
}

ModuleInPlace::ModuleInPlace(const BackendModule* module)
    : loaded_(look_at_module(module, "module of a test")) {
  in_place.store(&loaded_);
}

ModuleInPlace::~ModuleInPlace() { in_place.store(nullptr); }

}  // namespace tanul
