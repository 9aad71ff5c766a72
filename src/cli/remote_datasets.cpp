// SPDX-License-Identifier: Apache-2.0
// The data sets that `tanul data get` knows: official files, their mirrors, sizes and SHA-256 sums.
#include "cli/download.h"
#include "core/format.h"

namespace tanul::cli {

namespace {

RemoteFile remote_file(const char* name, int64_t bytes, const char* sha256,
                       const std::vector<const char*>& mirrors) {
  RemoteFile file{name, sha256, bytes, {}};
  for (const char* mirror : mirrors) file.urls.push_back(fmt::format("{}/{}", mirror, name));
  return file;
}

// The sums of MNIST are those of the files as they were published on yann.lecun.com.
RemoteDataset mnist() {
  const std::vector<const char*> mirrors{"https://ossci-datasets.s3.amazonaws.com/mnist",
                                         "https://storage.googleapis.com/cvdf-datasets/mnist"};
  return {
      "mnist",
      "MNIST",
      "CC BY-SA 3.0, Y. LeCun and C. Cortes",
      {remote_file("train-images-idx3-ubyte.gz", 9912422,
                   "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", mirrors),
       remote_file("train-labels-idx1-ubyte.gz", 28881,
                   "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", mirrors),
       remote_file("t10k-images-idx3-ubyte.gz", 1648877,
                   "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", mirrors),
       remote_file("t10k-labels-idx1-ubyte.gz", 4542,
                   "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", mirrors)}};
}

// Upstream publishes MD5 sums only. Debian's dataset-fashion-mnist holds the same deflate streams
// behind another gzip header (no name, another time). With the original name and time put back, all
// four match upstream's MD5, and these are their SHA-256 sums.
RemoteDataset fashion_mnist() {
  const std::vector<const char*> mirrors{
      "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
      "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"};
  return {
      "fashion-mnist",
      "Fashion-MNIST",
      "MIT, Zalando SE",
      {remote_file("train-images-idx3-ubyte.gz", 26421880,
                   "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", mirrors),
       remote_file("train-labels-idx1-ubyte.gz", 29515,
                   "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", mirrors),
       remote_file("t10k-images-idx3-ubyte.gz", 4422102,
                   "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", mirrors),
       remote_file("t10k-labels-idx1-ubyte.gz", 5148,
                   "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", mirrors)}};
}

}  // namespace

const std::vector<RemoteDataset>& remote_datasets() {
  static const std::vector<RemoteDataset> datasets{mnist(), fashion_mnist()};
  return datasets;
}

const RemoteDataset& find_remote_dataset(const std::string& name) {
  std::string known;
  for (const RemoteDataset& dataset : remote_datasets()) {
    if (dataset.name == name) return dataset;
    known += (known.empty() ? "" : ", ") + dataset.name;
  }
  fail(Code::not_found, "no data set \"{}\" can be fetched; known are {}", name, known);
}

}  // namespace tanul::cli
