#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds tanul and trains LeNet-5 on Fashion-MNIST: everything from a bare Debian 12 to a trained
# network. Further arguments go to `tanul train`.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/dependencies.sh
scripts/build.sh bin/tanul

run=runs/quickstart-$(date +%Y%m%d-%H%M%S)
exec build/release/bin/tanul train examples/models/lenet5.toml \
  --data /usr/share/datasets/fashion-mnist --epochs 5 --out "$run" "$@"
