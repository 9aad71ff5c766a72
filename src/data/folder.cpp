// SPDX-License-Identifier: Apache-2.0
// Data set folders: finds the files by their usual names, reads them, checks that they fit
// together. Stands between the readers of single files (idx.cpp) and DataView (dataset.cpp).
#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "core/format.h"
#include "tanul/data.h"

namespace tanul {

namespace {

namespace fs = std::filesystem;

constexpr int kMaxSearchedFolders = 200;
constexpr int64_t kMaxClasses = int64_t{1} << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The usual names of one file: "train" + "images" gives train-images-idx3-ubyte,
// train-images.idx3-ubyte, …, each with .gz or without.
std::vector<std::string> usual_names(const std::string& part, const std::string& what) {
  const std::vector<std::string> ranks =
      what == "images" ? std::vector<std::string>{"3", "4"} : std::vector<std::string>{"1"};
  std::vector<std::string> names;
  for (const std::string& rank : ranks) {
    for (const char* dot : {"-", "."}) {
      for (const char* end : {"", ".gz"}) {
        names.push_back(fmt::format("{}-{}{}idx{}-ubyte{}", part, what, dot, rank, end));
      }
    }
  }
  return names;
}

// The path of that file in the folder, or "".
std::string find_usual(const fs::path& folder, const std::string& part, const std::string& what) {
  for (const std::string& name : usual_names(part, what)) {
    if (is_file(folder / name)) return (folder / name).string();
  }
  return "";
}

bool is_idx_folder(const fs::path& folder) {
  return !find_usual(folder, "train", "images").empty() ||
         !find_usual(folder, "train", "labels").empty();
}

// A folder at most two levels below that does hold a data set, or "": people give the folder above
// (torchvision keeps the files in MNIST/raw).
std::string find_below(const fs::path& folder, int levels, int& budget) {
  std::vector<fs::path> below;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (--budget < 0) break;
    if (it->is_directory(ignored)) below.push_back(it->path());
  }
  std::sort(below.begin(), below.end());
  for (const fs::path& path : below) {
    if (is_idx_folder(path)) return path.string();
    const std::string deeper = levels > 1 ? find_below(path, levels - 1, budget) : "";
    if (!deeper.empty()) return deeper;
  }
  return "";
}

// Lower case, letters and digits only: "Fashion_MNIST" and "fashion-mnist" are one name.
std::string plain_name(const std::string& name) {
  std::string plain;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte)) plain += static_cast<char>(std::tolower(byte));
  }
  return plain;
}

// The folder's own name; that of the folder above where it is only called "raw".
std::string base_name(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(folder, error);
  if (error) path = folder;
  if (path.filename().empty()) path = path.parent_path();
  if (path.filename() == "raw") path = path.parent_path();
  return path.filename().string();
}

const std::array<const char*, 10> kFashionClasses{"T-shirt", "Trouser",   "Pullover", "Dress",
                                                  "Coat",    "Sandal",    "Shirt",    "Sneaker",
                                                  "Bag",     "Ankle boot"};

void name_dataset(Dataset& data, const std::string& folder, int64_t classes, bool is_given) {
  const std::string base = base_name(folder);
  const std::string plain = plain_name(base);
  const bool is_fashion = plain == "fashionmnist";
  const bool is_known = is_fashion || plain == "mnist";
  data.name = is_fashion ? "Fashion-MNIST" : is_known ? "MNIST" : base;
  // An excerpt of a known set may miss its last classes; they exist all the same.
  if (is_known && !is_given && classes < 10) classes = 10;
  for (int64_t c = 0; c < classes; ++c) {
    data.class_names.push_back(is_fashion && classes == 10 ? kFashionClasses[static_cast<size_t>(c)]
                                                           : std::to_string(c));
  }
}

Tensor read_images(const std::string& path) {
  const Tensor images = read_idx(path);
  const Shape& shape = images.shape();
  if (shape.rank() != 3 && shape.rank() != 4) {
    fail(Code::format,
         "{}: wrong rank {} at offset 3: images are [N, H, W] or [N, C, H, W], got {}", path,
         shape.rank(), shape.str());
  }
  if (shape.elems() == 0) {
    fail(Code::format, "{}: the extents {} at offset 4 leave no images", path, shape.str());
  }
  const Tensor values = images.dtype() == DType::u8 ? images : images.to(DType::f32);
  if (shape.rank() == 4) return values;
  return values.reshaped({shape[0], 1, shape[1], shape[2]});
}

// Labels as i32, each in [0, limit).
Tensor read_labels(const std::string& path, int64_t limit, bool is_given) {
  const Tensor labels = read_idx(path);
  if (labels.shape().rank() != 1) {
    fail(Code::format, "{}: wrong rank {} at offset 3: labels are [N], got {}", path,
         labels.shape().rank(), labels.shape().str());
  }
  if (labels.dtype() == DType::f32 || labels.dtype() == DType::f64) {
    fail(Code::format, "{}: element type {} at offset 2: labels are whole numbers", path,
         dtype_name(labels.dtype()));
  }
  const int64_t width = dtype_bytes(labels.dtype());
  Tensor classes = labels.to(DType::i32);
  const int32_t* label = classes.data<int32_t>();
  for (int64_t i = 0; i < classes.elems(); ++i) {
    if (label[i] >= 0 && label[i] < limit) continue;
    fail(Code::format, "{}: label {} of sample {} at offset {} is outside 0 … {} ({} {} classes)",
         path, label[i], i, 8 + i * width, limit - 1, is_given ? "asked for:" : "at most", limit);
  }
  return classes;
}

struct Pair {
  std::string images_path;
  Tensor images;
  Tensor labels;
};

// One part of the data set; both files missing gives an empty pair.
Pair read_pair(const std::string& folder, const std::string& part, const IdxOptions& options) {
  Pair pair;
  pair.images_path = find_usual(folder, part, "images");
  const std::string labels_path = find_usual(folder, part, "labels");
  if (pair.images_path.empty() && labels_path.empty()) return pair;
  if (pair.images_path.empty() || labels_path.empty()) {
    const bool has_images = labels_path.empty();
    fail(Code::not_found, "{}: no {} for it: looked for {}",
         has_images ? pair.images_path : labels_path, has_images ? "labels" : "images",
         fmt::format("{}[.gz] in the same folder",
                     usual_names(part, has_images ? "labels" : "images").front()));
  }
  const bool is_given = options.classes > 0;
  pair.labels = read_labels(labels_path, is_given ? options.classes : kMaxClasses, is_given);
  pair.images = read_images(pair.images_path);
  if (pair.labels.shape()[0] != pair.images.shape()[0]) {
    fail(Code::format, "{}: {} labels at offset 4, but {} has {} images", labels_path,
         pair.labels.shape()[0], pair.images_path, pair.images.shape()[0]);
  }
  return pair;
}

int64_t highest_label(const Tensor& labels) {
  if (labels.empty()) return -1;
  const int32_t* label = labels.data<int32_t>();
  return *std::max_element(label, label + labels.elems());
}

[[noreturn]] void fail_no_dataset(const std::string& folder) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) {
    fail(Code::not_found,
         "{}: no such folder; `tanul data get mnist` or `tanul data get fashion-mnist` fetches one",
         folder);
  }
  if (!fs::is_directory(folder, ignored)) {
    fail(Code::not_found, "{}: is not a folder; give the folder that holds the data set", folder);
  }
  int budget = kMaxSearchedFolders;
  const std::string below = find_below(folder, 2, budget);
  fail(Code::not_found,
       "{}: no data set: looked for train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] "
       "(also with . before idx); {}",
       folder,
       below.empty() ? "`tanul data get mnist` or `tanul data get fashion-mnist` fetches one"
                     : fmt::format("did you mean {}?", below));
}

}  // namespace

Dataset load_idx(const std::string& folder, const IdxOptions& options) {
  if (options.classes < 0 || options.classes > kMaxClasses) {
    fail(Code::invalid_argument, "load_idx: classes is 0 … {}, got {}", kMaxClasses,
         options.classes);
  }
  const Pair train = read_pair(folder, "train", options);
  if (train.images.empty()) fail_no_dataset(folder);
  Pair test = read_pair(folder, "t10k", options);
  if (test.images.empty()) test = read_pair(folder, "test", options);
  if (!test.images.empty()) {
    for (int axis = 1; axis < 4; ++axis) {
      if (test.images.shape()[axis] == train.images.shape()[axis]) continue;
      fail(Code::format, "{}: images of {} at offset 8, but those of {} are {}", test.images_path,
           DataView(test.images).sample_shape().str(), train.images_path,
           DataView(train.images).sample_shape().str());
    }
  }

  Dataset data;
  const int64_t highest = std::max(highest_label(train.labels), highest_label(test.labels));
  name_dataset(data, folder, options.classes > 0 ? options.classes : highest + 1,
               options.classes > 0);
  data.train_part = DataView(train.images, train.labels);
  if (!test.images.empty()) data.test_part = DataView(test.images, test.labels);
  return data;
}

Dataset load_dataset(const std::string& folder) {
  if (is_idx_folder(folder)) return load_idx(folder);
  fail_no_dataset(folder);
}

}  // namespace tanul
