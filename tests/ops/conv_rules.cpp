// SPDX-License-Identifier: Apache-2.0
#include "ops/cases.h"
#include "ops/conv_reference.h"
#include "ops/winograd_rules.h"

namespace tanul::test {

std::vector<Rule> conv2d_rules() {
  std::vector<Rule> rules = conv_rules<Conv2dParams>(OpKind::conv2d_fwd, OpKind::conv2d_bwd_data,
                                                     OpKind::conv2d_bwd_weights);
  for (size_t i = 0; i < rules.size(); ++i) {
    std::vector<ImplementationRule>& own = rules[i].implementations;
    own = winograd_rules(rules[i].kind);
    const auto step = static_cast<ConvStep>(i);
    own.push_back(conv_products_in<Conv2dParams, Precision::tf32>(step, "mma_tf32"));
    own.push_back(conv_products_in<Conv2dParams, Precision::bf16>(step, "mma_bf16"));
    own.push_back(conv_products_in<Conv2dParams, Precision::fp16>(step, "mma_fp16"));
  }
  return rules;
}

std::vector<Rule> conv3d_rules() {
  return conv_rules<Conv3dParams>(OpKind::conv3d_fwd, OpKind::conv3d_bwd_data,
                                  OpKind::conv3d_bwd_weights);
}

}  // namespace tanul::test
