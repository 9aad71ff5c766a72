// SPDX-License-Identifier: Apache-2.0
#include "ops/cases.h"
#include "ops/conv_reference.h"
#include "ops/winograd_rules.h"

namespace tanul::test {

std::vector<Rule> conv2d_rules() {
  std::vector<Rule> rules = conv_rules<Conv2dParams>(OpKind::conv2d_fwd, OpKind::conv2d_bwd_data,
                                                     OpKind::conv2d_bwd_weights);
  for (Rule& rule : rules) {
    for (const ImplementationRule& own : winograd_rules(rule.kind)) {
      rule.implementations.push_back(own);
    }
  }
  return rules;
}

std::vector<Rule> conv3d_rules() {
  return conv_rules<Conv3dParams>(OpKind::conv3d_fwd, OpKind::conv3d_bwd_data,
                                  OpKind::conv3d_bwd_weights);
}

}  // namespace tanul::test
