// SPDX-License-Identifier: Apache-2.0
#include "bench/energy.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/format.h"

namespace tanul::bench {

namespace {

namespace fs = std::filesystem;

bool read_number(const fs::path& file, double& number) {
  std::ifstream in(file);
  return static_cast<bool>(in >> number);
}

// One counter a processor package, in microjoules, which starts again behind its range.
class Powercap : public EnergyMeter {
 public:
  explicit Powercap(std::vector<fs::path> zones) : zones_(std::move(zones)) {
    for (const fs::path& zone : zones_) {
      double at = 0, range = 0;
      read_number(zone / "energy_uj", at);
      read_number(zone / "max_energy_range_uj", range);
      last_.push_back(at);
      range_.push_back(range);
    }
  }
  double joules() override {
    for (size_t i = 0; i < zones_.size(); ++i) {
      double now = last_[i];
      read_number(zones_[i] / "energy_uj", now);
      sum_ += now >= last_[i] ? now - last_[i] : now + range_[i] - last_[i];
      last_[i] = now;
    }
    return 1e-6 * sum_;
  }

 private:
  std::vector<fs::path> zones_;
  std::vector<double> last_, range_;
  double sum_ = 0;
};

std::unique_ptr<EnergyMeter> open_powercap(const std::string& folder, std::string& why_not) {
  std::vector<fs::path> zones;
  bool is_there = false;
  std::error_code failed;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, failed)) {
    // "intel-rapl:0" is a package, "intel-rapl:0:1" a part of it; AMD's bear the same name.
    const std::string name = entry.path().filename().string();
    if (name.rfind("intel-rapl:", 0) != 0 || std::count(name.begin(), name.end(), ':') != 1) {
      continue;
    }
    is_there = true;
    double ignored = 0;
    if (read_number(entry.path() / "energy_uj", ignored)) zones.push_back(entry.path());
  }
  if (zones.empty()) {
    why_not = is_there ? folder + " may not be read" : "no counters in " + folder;
    return nullptr;
  }
  return std::make_unique<Powercap>(std::move(zones));
}

// The four functions of libnvidia-ml.so that are needed, as its header declares them.
class Nvml : public EnergyMeter {
 public:
  using Handle = struct NvmlDevice*;
  static constexpr const char* kLibrary = "libnvidia-ml.so.1";

  static std::unique_ptr<EnergyMeter> open(std::string& why_not) {
    std::unique_ptr<Nvml> meter(new Nvml);
    if (meter->library_ == nullptr) {
      why_not = fmt::format("{} cannot be loaded", kLibrary);
      return nullptr;
    }
    const auto init = meter->find<int (*)()>("nvmlInit_v2");
    const auto count = meter->find<int (*)(unsigned*)>("nvmlDeviceGetCount_v2");
    const auto handle = meter->find<int (*)(unsigned, Handle*)>("nvmlDeviceGetHandleByIndex_v2");
    meter->energy_ =
        meter->find<int (*)(Handle, unsigned long long*)>("nvmlDeviceGetTotalEnergyConsumption");
    unsigned devices = 0;
    if (init == nullptr || count == nullptr || handle == nullptr || meter->energy_ == nullptr ||
        init() != 0 || count(&devices) != 0) {
      why_not = fmt::format("{} does not answer", kLibrary);
      return nullptr;
    }
    // Its numbers of devices need not be CUDA's.
    if (devices != 1) {
      why_not = fmt::format("{} shows {} GPUs, and it is not known which one is meant", kLibrary,
                            devices);
      return nullptr;
    }
    unsigned long long ignored = 0;
    if (handle(0, &meter->device_) != 0 || meter->energy_(meter->device_, &ignored) != 0) {
      why_not = "the GPU keeps no counter of energy";
      return nullptr;
    }
    return meter;
  }
  ~Nvml() override {
    if (library_ != nullptr) dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  double joules() override {
    unsigned long long millijoules = 0;
    if (energy_(device_, &millijoules) == 0) last_ = 1e-3 * static_cast<double>(millijoules);
    return last_;
  }

 private:
  Nvml() : library_(dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL)) {}
  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }

  void* library_;
  Handle device_ = nullptr;
  int (*energy_)(Handle, unsigned long long*) = nullptr;
  double last_ = 0;
};

}  // namespace

std::unique_ptr<EnergyMeter> open_energy_meter(const Device& device, std::string& why_not,
                                               const std::string& powercap) {
  return device.type == DeviceType::cpu ? open_powercap(powercap, why_not) : Nvml::open(why_not);
}

}  // namespace tanul::bench
