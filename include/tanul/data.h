// SPDX-License-Identifier: Apache-2.0
// Data sets in memory, their parts, and the reader for IDX files (MNIST, Fashion-MNIST, …).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tanul/augment.h"
#include "tanul/export.h"
#include "tanul/tensor.h"

namespace tanul {

// Some samples of a data set with their targets: a list of indices into shared tensors. Copies are
// cheap.
class TANUL_API DataView {
 public:
  DataView() = default;
  // samples: u8 or f32, [N, ...]; u8 is read as value/255.
  // targets: i32 [N] class indices (i32 [N, ...] for one at each position), or f32 [N, ...]: values or
  // probabilities; empty when there are none.
  // Throws Error{invalid_argument} where counts or types differ.
  explicit DataView(Tensor samples, Tensor targets = {});
  // For networks with several inputs and losses: one tensor for each, in the order of
  // Model::inputs() and Model::losses(), all with the same N. `targets` may be empty.
  DataView(std::vector<Tensor> samples, std::vector<Tensor> targets);

  int64_t size() const { return static_cast<int64_t>(indices_.size()); }
  bool empty() const { return indices_.empty(); }
  // How many tensors make up a sample, and a target. The methods below take the place of one of them.
  size_t inputs() const { return samples_.size(); }
  size_t targets() const { return targets_.size(); }
  Shape sample_shape(size_t input = 0) const;  // without N
  DType sample_dtype(size_t input = 0) const;
  bool has_targets() const { return !targets_.empty(); }
  // One class index a sample.
  bool has_labels() const { return has_targets() && target_dtype() == DType::i32 && !is_map(); }
  // Class indices for the positions of a sample (segmentation): i32 [N, ...].
  bool has_label_maps() const { return has_targets() && target_dtype() == DType::i32 && is_map(); }
  Shape target_shape(size_t target = 0) const;  // without N; {} for labels
  DType target_dtype(size_t target = 0) const;

  // Elements of one sample and of one target, in bytes.
  int64_t sample_bytes(size_t input = 0) const;
  int64_t target_bytes(size_t target = 0) const;

  const void* sample(int64_t i, size_t input = 0) const;
  const void* target(int64_t i, size_t target = 0) const;
  int32_t label(int64_t i) const;  // throws Error{invalid_argument} without labels

  // Copies `count` samples (and targets, where `targets` is not null) given by their positions in
  // this view into two dense buffers: the first input, the first target.
  void gather(const int64_t* positions, int64_t count, void* samples, void* targets) const;
  // One of the inputs, or one of the targets.
  void gather_input(size_t input, const int64_t* positions, int64_t count, void* to) const;
  void gather_target(size_t target, const int64_t* positions, int64_t count, void* to) const;

  // The same samples, each with itself as its target (f32, u8 counts as value/255): what an
  // autoencoder learns from. Makes one copy of all samples of the data as floats. One input only:
  // throws Error{invalid_argument} otherwise.
  DataView reconstructing() const;

  // The samples at these positions of this view.
  DataView subset(const std::vector<int64_t>& positions) const;
  // The first `count` samples (all, where there are fewer).
  DataView first(int64_t count) const;
  // {rest, part}: `part` gets round(fraction * size()) samples drawn without replacement.
  // Stratified keeps the share of each class as near as whole samples allow (labels only). Order
  // within both parts is kept. The draw depends on `seed` alone. fraction in [0, 1].
  std::pair<DataView, DataView> split(double fraction, uint64_t seed, bool stratified = true) const;

  // Samples of each class 0 … classes-1.
  std::vector<int64_t> class_counts(int64_t classes) const;

  // Mean and standard deviation per channel (the first extent of the sample shape; one channel
  // where the rank is 1), in units of the network's input: u8 counts as value/255. The deviation is
  // that of all values (divided by their number). Throws Error{invalid_argument} without values.
  struct Moments {
    std::vector<float> mean;
    std::vector<float> deviation;
  };
  Moments channel_moments(size_t input = 0) const;

 private:
  bool is_map() const { return targets_.front().shape().rank() > 1; }
  const Tensor& input_at(size_t input) const;
  const Tensor& target_at(size_t target) const;

  std::vector<Tensor> samples_;
  std::vector<Tensor> targets_;
  std::vector<int64_t> indices_;
};

// A data set with its usual parts. Empty parts are allowed.
struct TANUL_API Dataset {
  std::string name;                      // "Fashion-MNIST"
  std::vector<std::string> class_names;  // one per class
  DataView train_part;
  DataView validation_part;
  DataView test_part;

  const DataView& train() const { return train_part; }
  const DataView& validation() const { return validation_part; }
  const DataView& test() const { return test_part; }
  int64_t classes() const { return static_cast<int64_t>(class_names.size()); }

  // Moves `fraction` of the training part into the validation part; see DataView::split. Throws
  // Error{invalid_argument} where there is a validation part already.
  void split_validation(double fraction, uint64_t seed, bool stratified = true);
};

// One batch: samples [n, ...] and their targets ([n] labels, or [n, ...]), n <= LoaderOptions::batch.
struct Batch {
  Tensor samples;
  Tensor targets;  // empty where the data has none
  // Of data with several inputs and targets: those behind the first.
  std::vector<Tensor> more_samples;
  std::vector<Tensor> more_targets;
  int64_t size() const { return samples.empty() ? 0 : samples.shape()[0]; }
};

struct LoaderOptions {
  int64_t batch = 64;
  bool shuffle = true;     // anew each epoch, from (seed, epoch) alone
  bool drop_last = false;  // leave out an epoch's last, smaller batch
  uint64_t seed = 1;
  Augmentation augmentation = {};  // of the first input
};

// Hands out the batches of an epoch, in the order in which Trainer::train_epoch visits the samples
// for the same seed and epoch, augmented as it augments them. For loops of one's own over Trainer::step.
class TANUL_API Loader {
 public:
  // Throws Error{invalid_argument} for an empty view, a batch below 1, or an augmentation that does not
  // fit the samples.
  explicit Loader(DataView data, const LoaderOptions& options = {});

  int64_t batches() const;          // in an epoch
  void start_epoch(int64_t epoch);  // from 0; a new loader stands at the start of epoch 0
  // Fills `batch` and returns true, or returns false at the end of the epoch. The tensors of the
  // last call are written over where nobody else holds them.
  bool next(Batch& batch);

 private:
  DataView data_;
  LoaderOptions options_;
  std::vector<int64_t> order_;
  int64_t next_ = 0;
  int64_t epoch_ = 0;
};

// Reads one IDX file, plain or gzipped, of any rank and element type (u8, i8, i16, i32, f32, f64;
// big-endian in the file, host order in the tensor). Format: Y. LeCun, "The MNIST database".
// Throws Error{not_found, format, io} naming file, offset and reason.
TANUL_API Tensor read_idx(const std::string& path);

// Writes a tensor as IDX (gzipped where the name ends in .gz), through a temporary file and an
// atomic rename.
TANUL_API void write_idx(const std::string& path, const Tensor& tensor);

struct IdxOptions {
  int64_t classes = 0;  // 0: the highest label + 1; otherwise labels must be below it
};

// Reads the folder of an IDX data set: train-images / train-labels / t10k-images / t10k-labels
// under their usual names (with - or . before idx3-ubyte, .gz or not; "test" for "t10k"). Images
// [N, H, W] become samples [N, 1, H, W], images [N, C, H, W] (idx4-ubyte) stay; u8 stays u8, other
// element types become f32. The test pair may be missing; the training pair may not. The data set
// is named after the folder; MNIST and Fashion-MNIST are known by that and get their class names.
// Throws Error{not_found, format, io, invalid_argument}.
TANUL_API Dataset load_idx(const std::string& folder, const IdxOptions& options = {});

// Reads a data set folder of any kind that tanul knows, recognised by its content.
TANUL_API Dataset load_dataset(const std::string& folder);

}  // namespace tanul
