// SPDX-License-Identifier: Apache-2.0
// What a machine may have in the place of a working CUDA module, each told apart by a real dlopen.
#include "backend/module_loader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/backend.h"
#include "core/format.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace tanul::test {
namespace {

std::string module_file(const std::string& name) {
  return fmt::format("{}/test_modules/{}.so", TANUL_BINARY_DIR, name);
}

LoadedModule load(const std::string& name) { return load_module({module_file(name)}); }

void expect_outcome(const LoadedModule& loaded, ModuleOutcome outcome, const std::string& part) {
  EXPECT_EQ(static_cast<int>(loaded.outcome), static_cast<int>(outcome)) << loaded.reason;
  const std::string reason = loaded.reason + loaded.detail;
  EXPECT_NE(reason.find(part), std::string::npos) << "reason: " << reason << "\nlacks:  " << part;
  EXPECT_EQ(loaded.reason.find('\n'), std::string::npos) << loaded.reason;
}

TEST(ModuleLoader, LooksBesideTheLibraryAndNowhereElse) {
  EXPECT_EQ(module_paths(nullptr, "/opt/x/lib"),
            (std::vector<std::string>{"/opt/x/lib/libtanul-cuda.so",
                                      "/opt/x/lib/tanul/libtanul-cuda.so"}));
  EXPECT_EQ(module_paths(nullptr, "/opt/x/bin"),
            (std::vector<std::string>{"/opt/x/bin/libtanul-cuda.so", "/opt/x/lib/libtanul-cuda.so",
                                      "/opt/x/lib/tanul/libtanul-cuda.so"}));
  EXPECT_EQ(module_paths("", "/opt/x/lib64").back(), "/opt/x/lib/tanul/libtanul-cuda.so");
  EXPECT_EQ(module_paths("/a/other.so", "/opt/x/lib"), (std::vector<std::string>{"/a/other.so"}));
  EXPECT_TRUE(module_paths(nullptr, "").empty());
}

TEST(ModuleLoader, TheCurrentDirectoryIsNoPlace) {
  const TempFolder folder;
  const auto here = std::filesystem::current_path();
  std::filesystem::copy_file(module_file("no_device"), folder.path() + "/libtanul-cuda.so");
  std::filesystem::current_path(folder.path());
  const LoadedModule loaded = load_module(module_paths(nullptr, "/nowhere/lib"));
  std::filesystem::current_path(here);
  expect_outcome(loaded, ModuleOutcome::not_found, "no file /nowhere/lib/libtanul-cuda.so or ");
}

TEST(ModuleLoader, AMissingFile) {
  expect_outcome(load_module({"/nowhere/m.so"}), ModuleOutcome::not_found,
                 "the CUDA module is not installed (no file /nowhere/m.so)");
  expect_outcome(load_module({}), ModuleOutcome::not_found, "does not know where it lies");
}

TEST(ModuleLoader, TakesTheFirstFileThatExists) {
  const LoadedModule loaded = load_module({"/nowhere/m.so", module_file("no_device")});
  EXPECT_EQ(loaded.path, module_file("no_device"));
}

TEST(ModuleLoader, AFileThatIsNoLibrary) {
  const TempFolder folder;
  const std::string path = folder.path() + "/libtanul-cuda.so";
  std::ofstream(path) << "this is a text\n";
  expect_outcome(load_module({path}), ModuleOutcome::cannot_load, path + " cannot be loaded: ");
  std::ofstream(path, std::ios::trunc).close();  // of no bytes
  expect_outcome(load_module({path}), ModuleOutcome::cannot_load, "file too short");
}

TEST(ModuleLoader, ALibraryThatNeedsWhatIsNotThere) {
  expect_outcome(load("missing_library"), ModuleOutcome::cannot_load,
                 "undefined symbol: tanul_test_function_that_is_nowhere");
}

TEST(ModuleLoader, ALibraryThatIsNoModule) {
  expect_outcome(load("no_symbol"), ModuleOutcome::mismatch,
                 "is no module of tanul: it has no tanul_backend");
}

TEST(ModuleLoader, AnotherInterface) {
  expect_outcome(load("wrong_abi"), ModuleOutcome::mismatch,
                 fmt::format("its interface has version {} (", kBackendAbiVersion + 1));
}

TEST(ModuleLoader, AnotherListOfSteps) {
  expect_outcome(load("wrong_ops"), ModuleOutcome::mismatch, "its list of steps is another one (");
}

TEST(ModuleLoader, AnotherRelease) {
  expect_outcome(load("wrong_version"), ModuleOutcome::mismatch,
                 "it is of tanul 0.0.7, this library is " + std::string(version()));
}

TEST(ModuleLoader, NoDevice) {
  const LoadedModule loaded = load("no_device");
  expect_outcome(loaded, ModuleOutcome::no_device, "there is no NVIDIA driver");
  EXPECT_NE(loaded.module, nullptr);
}

// The hash is over names and their order, not over their letters alone.
TEST(ModuleLoader, TheHashSeesNamesAndOrder) {
  constexpr uint64_t kStart = 0xCBF29CE484222325u;
  const auto hash = [](const char* a, const char* b) {
    return detail::fnv1a(detail::fnv1a(kStart, a), b);
  };
  EXPECT_NE(hash("relu", "tanh"), hash("tanh", "relu"));
  EXPECT_NE(hash("ab", "c"), hash("a", "bc"));
  EXPECT_EQ(hash("relu", "tanh"), hash("relu", "tanh"));
}

// What the engine makes of a module without a device, by all the ways that ask for one.
class WithoutGpu : public testing::Test {
 protected:
  LoadedModule loaded_ = load("no_device");
  ModuleInPlace in_place_{loaded_.module};
};

TEST_F(WithoutGpu, AutoIsTheCpuWithTheReason) {
  std::string why;
  EXPECT_EQ(find_device("auto", &why).str(), "cpu");
  EXPECT_EQ(why, "there is no NVIDIA driver");
}

TEST_F(WithoutGpu, CudaIsAnErrorWithTheReason) {
  for (const char* name : {"cuda", "cuda:0", "cuda:7"}) {
    expect_error(
        Code::device,
        fmt::format("device \"{}\": no GPU can be used: there is no NVIDIA driver; \"auto\" "
                    "trains on the CPU",
                    name),
        [&] { find_device(name); });
  }
  expect_error(Code::device, "cuda:0: there is no NVIDIA driver", [] {
    open_backend({DeviceType::cuda, 0}, 0);
  });
}

TEST_F(WithoutGpu, InfoHasTheOutcome) {
  EXPECT_EQ(system_info().cuda, "no device: there is no NVIDIA driver");
  EXPECT_EQ(system_info().cuda_versions,
            "driver none, runtime 13.0, cuBLAS not found, cuDNN not found, code for sm_90");
  EXPECT_TRUE(system_info().gpus.empty());
}

TEST(ModuleLoader, ThreadsMayAskTogether) {
  std::vector<std::thread> threads;
  std::vector<const LoadedModule*> seen(4);
  for (size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&seen, i] { seen[i] = &cuda_module(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const LoadedModule* loaded : seen) EXPECT_EQ(loaded, seen.front());
}

}  // namespace
}  // namespace tanul::test
