// SPDX-License-Identifier: Apache-2.0
#include "tanul/precision.h"

namespace tanul {

const char* precision_name(Precision precision) {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::tf32: return "tf32";
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "fp16";
  }
  return "";
}

}  // namespace tanul
