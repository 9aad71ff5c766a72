// SPDX-License-Identifier: Apache-2.0
// Energy that a device has taken, from the counters that it keeps.
#pragma once

#include <tanul/device.h>

#include <memory>
#include <string>

namespace tanul::bench {

// A GPU by NVIDIA's management library, which is looked for when it is asked; a CPU by the kernel's
// powercap counters, where they may be read: all packages, so that the machine should do nothing else.
class EnergyMeter {
 public:
  virtual ~EnergyMeter() = default;
  // Joules since some moment before the meter was made, ever growing.
  virtual double joules() = 0;
};

// Null where the device does not say; `why_not` receives the reason. `powercap` is the kernel's folder.
std::unique_ptr<EnergyMeter> open_energy_meter(const Device& device, std::string& why_not,
                                               const std::string& powercap = "/sys/class/powercap");

}  // namespace tanul::bench
