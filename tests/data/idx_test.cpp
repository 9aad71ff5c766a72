// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zlib.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/data.h"

namespace tanul {
namespace {

using test::expect_error;
using test::TempFolder;

std::string be32(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

// An IDX header of that type code and those extents.
std::string header(int type, const std::vector<uint32_t>& extents) {
  std::string bytes{0, 0, static_cast<char>(type), static_cast<char>(extents.size())};
  for (const uint32_t extent : extents) bytes += be32(extent);
  return bytes;
}

std::string images(uint32_t count, uint32_t side = 2) {
  return header(8, {count, side, side}) + std::string(size_t{count} * side * side, '\x05');
}

std::string labels(const std::string& values) {
  return header(8, {static_cast<uint32_t>(values.size())}) + values;
}

std::string gzip(const std::string& content) {
  std::string packed(compressBound(content.size()) + 64, '\0');
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  const size_t bytes = stream.total_out;
  deflateEnd(&stream);
  return packed.substr(0, bytes);
}

std::string flipped(std::string bytes, size_t at) {
  bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
  return bytes;
}

std::string noise(size_t count) {
  std::string bytes;
  uint32_t state = 1;
  while (bytes.size() < count) {
    state = state * 1664525u + 1013904223u;
    bytes += static_cast<char>(state >> 24);
  }
  return bytes;
}

TEST(Idx, ReadsEveryElementTypeInBothPackings) {
  const TempFolder folder;
  const std::vector<Tensor> tensors{
      Tensor::from<uint8_t>({2, 3}, {0, 1, 2, 253, 254, 255}),
      Tensor::from<int8_t>({6}, {-128, -1, 0, 1, 126, 127}),
      Tensor::from<int16_t>({1, 6}, {-32768, -2, 0, 258, 513, 32767}),
      Tensor::from<int32_t>({3, 2}, {INT32_MIN, -3, 0, 0x01020304, 5, INT32_MAX}),
      Tensor::from<float>({2, 1, 3}, {-1.5f, 0.f, 1e-40f, 3.25f, 1e38f, INFINITY}),
      Tensor::from<double>({6}, {-1.5, 0.0, 1e-310, 3.25, 1e300, -INFINITY}),
      Tensor::from<uint8_t>({}, {42}),
      Tensor({0, 5}, DType::i32),
      Tensor({1, 1, 2, 1, 1, 3, 1, 1}, DType::f64),
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (const char* end : {"", ".gz"}) {
      const std::string path = folder / std::to_string(i).append(end);
      write_idx(path, tensors[i]);
      const Tensor back = read_idx(path);
      EXPECT_EQ(back.dtype(), tensors[i].dtype()) << path;
      EXPECT_EQ(back.shape(), tensors[i].shape()) << path;
      EXPECT_EQ(std::memcmp(back.raw(), tensors[i].raw(), static_cast<size_t>(back.bytes())), 0)
          << path;
    }
  }
}

TEST(Idx, WritesTheFormatsBytes) {
  const TempFolder folder;
  write_idx(folder / "x", Tensor::from<int16_t>({1, 2}, {0x0102, -2}));
  EXPECT_EQ(folder.read("x"), header(0x0b, {1, 2}) + std::string("\x01\x02\xff\xfe"));
  write_idx(folder / "y.gz", Tensor::from<int16_t>({1, 2}, {0x0102, -2}));
  const std::string packed = folder.read("y.gz");
  write_idx(folder / "y.gz", Tensor::from<int16_t>({1, 2}, {0x0102, -2}));
  EXPECT_EQ(folder.read("y.gz"), packed);
  EXPECT_EQ(packed.substr(0, 2), "\x1f\x8b");
  EXPECT_EQ(folder.entries(), 2);
}

TEST(Idx, GzipIsToldByContentNotByName) {
  const TempFolder folder;
  EXPECT_EQ(read_idx(folder.write("plain.gz", images(3))).shape(), (Shape{3, 2, 2}));
  EXPECT_EQ(read_idx(folder.write("packed", gzip(images(3)))).shape(), (Shape{3, 2, 2}));
}

TEST(Idx, ReadsSeveralGzipMembers) {
  const TempFolder folder;
  const std::string content = header(8, {3, 4}) + "abcdefghijkl";
  const Tensor t = read_idx(folder.write(
      "x.gz", gzip(content.substr(0, 7)) + gzip(content.substr(7, 9)) + gzip(content.substr(16))));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(t.data<uint8_t>()), 12), "abcdefghijkl");
}

TEST(Idx, RefusesToWriteWhatTheFormatCannotHold) {
  const TempFolder folder;
  expect_error(Code::invalid_argument, "x: IDX has no element type i64",
               [&] { write_idx(folder / "x", Tensor({2}, DType::i64)); });
  expect_error(Code::invalid_argument, "x: an empty tensor", [&] { write_idx(folder / "x", {}); });
  expect_error(Code::io, "none/x: cannot be written",
               [&] { write_idx(folder / "none/x", Tensor({2})); });
  EXPECT_EQ(folder.entries(), 0);
}

struct CorruptFile {
  const char* name;
  std::string bytes;
  std::string message;  // behind "PATH: "
};

std::vector<CorruptFile> corrupt_files() {
  const std::string good = images(4);  // 16 + 16 bytes
  const std::string big = header(8, {60000, 28, 28});
  const std::string packed = gzip(header(8, {4000}) + noise(4000));
  std::string forged_length = gzip(header(8, {0xffffffffu}) + std::string(64, 'x'));
  forged_length.replace(forged_length.size() - 4, 4, "\x07\x00\x00\x00", 4);
  return {
      {"empty", "", "truncated: an IDX header has at least 4 bytes, the file has 0"},
      {"one_byte", std::string(1, '\0'),
       "truncated: an IDX header has at least 4 bytes, the file has 1"},
      {"three_bytes", std::string("\0\0\x08", 3),
       "truncated: an IDX header has at least 4 bytes, the file has 3"},
      {"png", "\x89PNG\r\n\x1a\n",
       "wrong magic 89 50 4e 47 at offset 0: an IDX file starts with 00 00"},
      {"text", "a,b\n1,2\n", "wrong magic 61 2c 62 0a at offset 0"},
      {"short_text", "a", "wrong magic 61 at offset 0"},
      {"second_byte", std::string("\0\x01\x08\x01\0\0\0\0", 8),
       "wrong magic 00 01 08 01 at offset 0"},
      {"little_endian_magic", std::string("\x03\x08\0\0", 4),
       "wrong magic 03 08 00 00 at offset 0"},
      {"type_0a", header(0x0a, {1}) + "xx",
       "unknown element type 0x0a at offset 2: IDX has 0x08 u8"},
      {"type_00", header(0, {1}) + "x", "unknown element type 0x00 at offset 2"},
      {"type_ff", header(0xff, {1}) + "x", "unknown element type 0xff at offset 2"},
      {"rank_9", header(8, std::vector<uint32_t>(9, 1)) + "x",
       "rank 9 at offset 3: at most 8 extents can be read"},
      {"rank_255", std::string("\0\0\x08\xff", 4), "rank 255 at offset 3"},
      {"no_extents", std::string("\0\0\x08\x03", 4),
       "truncated: a header of rank 3 has 16 bytes, the file has 4"},
      {"half_extent", good.substr(0, 9),
       "truncated: a header of rank 3 has 16 bytes, the file has 9"},
      {"header_only", big,
       "truncated: the header promises 60000 x 28 x 28 = 47040000 bytes after offset 16, the file "
       "has 0"},
      {"half", big + std::string(31457, 'x'),
       "truncated: the header promises 60000 x 28 x 28 = 47040000 bytes after offset 16, the file "
       "has 31457"},
      {"one_short", good.substr(0, good.size() - 1),
       "truncated: the header promises 4 x 2 x 2 = 16 bytes after offset 16, the file has 15"},
      {"i32_short", header(0x0c, {3}) + std::string(11, 'x'),
       "truncated: the header promises 3 of i32 = 12 bytes after offset 8, the file has 11"},
      {"scalar_missing", header(0x0e, {}),
       "truncated: the header promises a scalar of f64 = 8 bytes after offset 4, the file has 0"},
      {"one_more", good + "x",
       "1 trailing bytes from offset 32: the header promises 4 x 2 x 2 = 16 bytes after offset 16"},
      {"twice", good + good, "32 trailing bytes from offset 32"},
      {"zero_extent_trailing", header(8, {0, 28}) + "x",
       "1 trailing bytes from offset 12: the header promises 0 x 28 = 0 bytes"},
      {"terabytes", header(8, {0xffffffffu, 1024}) + "x",
       "truncated: the header promises 4294967295 x 1024 = 4398046510080 bytes after offset 12, "
       "the file has 1"},
      {"overflow_3", header(8, {0xffffffffu, 0xffffffffu, 0xffffffffu}),
       "the extents [4294967295, 4294967295, 4294967295] at offset 4 overflow"},
      {"overflow_to_zero", header(8, {0x10000, 0x10000, 0x10000, 0x10000}),
       "the extents [65536, 65536, 65536, 65536] at offset 4 overflow"},
      {"overflow_by_type", header(0x0e, {0x80000000u, 0x40000000u}),
       "the extents [2147483648, 1073741824] at offset 4 overflow"},
      {"overflow_behind_zero", header(8, {0, 0xffffffffu, 0xffffffffu, 0xffffffffu}),
       "at offset 4 overflow"},
      {"gzip_magic_only", "\x1f\x8b",
       "truncated: an IDX header has at least 4 bytes, the file has 0 (its gzip stream breaks off "
       "at offset 2)"},
      {"gzip_bad_method", std::string("\x1f\x8b\x07\0\0\0\0\0\0\3abc", 13),
       "corrupt gzip stream at offset"},
      {"gzip_of_text", gzip("hello"), "wrong magic 68 65 6c 6c at offset 0"},
      {"gzip_of_nothing", gzip(""),
       "truncated: an IDX header has at least 4 bytes, the file has 0"},
      {"gzip_cut", packed.substr(0, packed.size() / 2),
       "truncated: the header promises 4000 = 4000 bytes after offset 8, the file has "},
      {"gzip_cut_in_checksum", packed.substr(0, packed.size() - 3),
       "gzip stream breaks off at offset " + std::to_string(packed.size() - 3)},
      {"gzip_bad_checksum", flipped(packed, packed.size() - 6), "corrupt gzip stream at offset"},
      {"gzip_bad_length", flipped(packed, packed.size() - 2), "corrupt gzip stream at offset"},
      {"gzip_bad_data", flipped(packed, 14), "corrupt gzip stream at offset"},
      {"gzip_trailing", packed + "tail",
       "4 trailing bytes behind the gzip stream, from offset " + std::to_string(packed.size())},
      {"gzip_content_short", gzip(good.substr(0, 30)),
       "truncated: the header promises 4 x 2 x 2 = 16 bytes after offset 16, the file has 14"},
      {"gzip_content_long", gzip(good + "abc"), "3 trailing bytes from offset 32"},
      {"gzip_terabytes", gzip(header(8, {0xffffffffu, 1024}) + std::string(5000, 'x')),
       "truncated: the header promises 4294967295 x 1024 = 4398046510080 bytes after offset 12, "
       "the file has 5000"},
      {"gzip_forged_length", forged_length, "corrupt gzip stream at offset"},
  };
}

TEST(Idx, RefusesCorruptFiles) {
  const TempFolder folder;
  const std::vector<CorruptFile> files = corrupt_files();
  ASSERT_GE(files.size(), 25u);
  for (const CorruptFile& file : files) {
    SCOPED_TRACE(file.name);
    const std::string path = folder.write(file.name, file.bytes);
    expect_error(Code::format, path + ": ", [&] { read_idx(path); });
    expect_error(Code::format, file.message, [&] { read_idx(path); });
  }
}

TEST(Idx, MissingFilesAndFolders) {
  const TempFolder folder;
  expect_error(Code::not_found, folder / "none: no such file", [&] { read_idx(folder / "none"); });
  expect_error(Code::not_found, "is a folder", [&] { read_idx(folder.path()); });
}

// Whatever single byte of a small file is changed, or wherever it is cut: an error or a tensor.
TEST(Idx, SurvivesEveryFlippedByteAndEveryCut) {
  const TempFolder folder;
  for (const std::string& good : {images(3), gzip(images(3))}) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (const std::string& bytes : {flipped(good, at), good.substr(0, at)}) {
        try {
          read_idx(folder.write("x", bytes));
        } catch (const Error& e) {
          EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(Code::format)) << e.what();
        }
      }
    }
  }
}

// A valid stream of zeros that unpacks to 256 MiB under a header that promises four bytes: counted,
// never kept.
TEST(Idx, CountsAGzipBombWithoutKeepingIt) {
  const TempFolder folder;
  struct rusage before {};
  getrusage(RUSAGE_SELF, &before);
  const std::string zeros = gzip(std::string(1 << 24, '\0'));
  std::string bomb = gzip(header(8, {4}));
  for (int i = 0; i < 16; ++i) bomb += zeros;
  expect_error(Code::format, "268435452 trailing bytes from offset 12",
               [&] { read_idx(folder.write("bomb.gz", bomb)); });
  struct rusage after {};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 200 * 1024);
}

// --- folders ---

void write_set(const TempFolder& folder, const std::string& train_labels = labels({0, 1, 2}),
               const std::string& test_labels = labels({1, 0})) {
  folder.write("train-images-idx3-ubyte", images(3));
  folder.write("train-labels-idx1-ubyte", train_labels);
  folder.write("t10k-images-idx3-ubyte", images(2));
  folder.write("t10k-labels-idx1-ubyte", test_labels);
}

TEST(IdxFolder, ReadsBothParts) {
  const TempFolder folder;
  write_set(folder);
  const Dataset data = load_dataset(folder.path());
  EXPECT_EQ(data.name, std::filesystem::path(folder.path()).filename());
  EXPECT_EQ(data.class_names, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_EQ(data.train().size(), 3);
  EXPECT_EQ(data.train().sample_shape(), (Shape{1, 2, 2}));
  EXPECT_EQ(data.train().sample_dtype(), DType::u8);
  EXPECT_EQ(data.train().label(2), 2);
  EXPECT_TRUE(data.validation().empty());
  EXPECT_EQ(data.test().class_counts(3), (std::vector<int64_t>{1, 1, 0}));
}

TEST(IdxFolder, KnowsTheUsualNames) {
  const std::vector<std::pair<std::string, std::string>> names{
      {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"},
      {"train-images.idx3-ubyte", "train-labels.idx1-ubyte"},
      {"train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"},
  };
  for (const auto& [images_name, labels_name] : names) {
    const TempFolder folder;
    folder.write(images_name, images(3));
    folder.write(labels_name, labels({0, 1, 2}));
    const Dataset data = load_dataset(folder.path());
    EXPECT_EQ(data.train().size(), 3) << images_name;
    EXPECT_TRUE(data.test().empty());
  }
}

TEST(IdxFolder, NamesKnownSets) {
  const TempFolder folder;
  for (const auto& [base, name, last] :
       std::vector<std::array<const char*, 3>>{{"mnist", "MNIST", "9"},
                                               {"fashion-mnist", "Fashion-MNIST", "Ankle boot"},
                                               {"FashionMNIST/raw", "Fashion-MNIST", "Ankle boot"},
                                               {"MNIST", "MNIST", "9"},
                                               {"kmnist", "kmnist", "2"}}) {
    const std::string path = folder / base;
    std::filesystem::create_directories(path);
    write_idx(path + "/train-images-idx3-ubyte.gz", Tensor({3, 2, 2}, DType::u8));
    write_idx(path + "/train-labels-idx1-ubyte", Tensor::from<uint8_t>({3}, {0, 1, 2}));
    for (const std::string& given : {path, path + "/", path + "/."}) {
      const Dataset data = load_idx(given);
      EXPECT_EQ(data.name, name) << given;
      EXPECT_EQ(data.class_names.back(), last) << given;
    }
  }
}

TEST(IdxFolder, OtherElementTypesBecomeFloatsAndColourKeepsItsChannels) {
  const TempFolder folder;
  write_idx(folder / "train-images-idx4-ubyte",
            Tensor::from<int16_t>({1, 3, 1, 2}, {-300, 0, 1, 2, 3, 300}));
  write_idx(folder / "train-labels-idx1-ubyte", Tensor::from<int32_t>({1}, {70000}));
  const Dataset data = load_idx(folder.path());
  EXPECT_EQ(data.train().sample_shape(), (Shape{3, 1, 2}));
  EXPECT_EQ(data.train().sample_dtype(), DType::f32);
  EXPECT_EQ(static_cast<const float*>(data.train().sample(0))[5], 300.f);
  EXPECT_EQ(data.classes(), 70001);
}

TEST(IdxFolder, RefusesWhatDoesNotFitTogether) {
  struct Case {
    std::string file;
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases{
      {"train-labels-idx1-ubyte", labels({0, 1}),
       "train-labels-idx1-ubyte: 2 labels at offset 4, but "},
      {"t10k-labels-idx1-ubyte", labels({0, 1, 2}), "t10k-images-idx3-ubyte has 2 images"},
      {"train-labels-idx1-ubyte", labels({0, 3, 2}),
       "train-labels-idx1-ubyte: label 3 of sample 1 at offset 9 is outside 0 … 2 (asked for: 3 "
       "classes)"},
      {"t10k-labels-idx1-ubyte", header(0x0c, {2}) + be32(1) + be32(9),
       "t10k-labels-idx1-ubyte: label 9 of sample 1 at offset 12 is outside"},
      {"train-labels-idx1-ubyte", header(9, {3}) + "\x01\x01\xff",
       "label -1 of sample 2 at offset 10 is outside"},
      {"train-labels-idx1-ubyte", header(8, {3, 1}) + "\x01\x01\x01",
       "wrong rank 2 at offset 3: labels are [N], got [3, 1]"},
      {"train-labels-idx1-ubyte", images(3), "wrong rank 3 at offset 3: labels are [N]"},
      {"train-labels-idx1-ubyte", header(0x0d, {3}) + std::string(12, '\0'),
       "element type f32 at offset 2: labels are whole numbers"},
      {"train-images-idx3-ubyte", labels({1, 2, 0}),
       "train-images-idx3-ubyte: wrong rank 1 at offset 3: images are [N, H, W] or [N, C, H, W], "
       "got [3]"},
      {"train-images-idx3-ubyte", header(8, {0, 28, 28}),
       "the extents [0, 28, 28] at offset 4 leave no images"},
      {"t10k-images-idx3-ubyte", images(2, 3),
       "t10k-images-idx3-ubyte: images of [1, 3, 3] at offset 8, but those of "},
      {"train-images-idx3-ubyte", "GIF89a",
       "train-images-idx3-ubyte: wrong magic 47 49 46 38 at offset 0"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    const TempFolder folder;
    write_set(folder);
    folder.write(c.file, c.bytes);
    expect_error(Code::format, folder.path() + "/",
                 [&] { load_idx(folder.path(), {.classes = 3}); });
    expect_error(Code::format, c.message, [&] { load_idx(folder.path(), {.classes = 3}); });
  }
}

TEST(IdxFolder, AnAbsurdLabelDoesNotMakeMillionsOfClasses) {
  const TempFolder folder;
  write_set(folder, header(0x0c, {3}) + be32(0) + be32(0x7fffffff) + be32(1));
  expect_error(Code::format, "label 2147483647 of sample 1 at offset 12 is outside 0 … 1048575",
               [&] { load_dataset(folder.path()); });
}

TEST(IdxFolder, MissingPartsAreNamed) {
  const TempFolder folder;
  expect_error(Code::not_found, "none: no such folder; `tanul data get mnist`",
               [&] { load_dataset(folder / "none"); });
  expect_error(Code::not_found, "no data set: looked for train-images-idx3-ubyte[.gz]",
               [&] { load_dataset(folder.path()); });
  const std::string file = folder.write("file", "x");
  expect_error(Code::not_found, "file: is not a folder", [&] { load_dataset(file); });

  const std::string raw = folder / "data/MNIST/raw";
  std::filesystem::create_directories(raw);
  folder.write("data/MNIST/raw/train-images-idx3-ubyte", images(3));
  expect_error(Code::not_found, "did you mean " + raw + "?",
               [&] { load_dataset(folder / "data"); });
  expect_error(Code::not_found,
               raw +
                   "/train-images-idx3-ubyte: no labels for it: looked for "
                   "train-labels-idx1-ubyte[.gz]",
               [&] { load_dataset(raw); });
  folder.write("data/MNIST/raw/train-labels-idx1-ubyte", labels({0, 1, 2}));
  folder.write("data/MNIST/raw/t10k-labels-idx1-ubyte", labels({0}));
  expect_error(Code::not_found, "t10k-labels-idx1-ubyte: no images for it",
               [&] { load_dataset(raw); });
  expect_error(Code::invalid_argument, "classes is 0 … 1048576, got -1",
               [&] { load_idx(raw, {.classes = -1}); });
}

// --- real data, where it is ---

std::string mnist_folder() {
  const char* given = std::getenv("TANUL_MNIST_DIR");
  return given ? given : TANUL_SOURCE_DIR "/../shared/data/mnist";
}

TEST(RealData, Mnist) {
  const std::string folder = mnist_folder();
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no MNIST: neither TANUL_MNIST_DIR is set nor is there " << folder;
  }
  const Dataset data = load_dataset(folder);
  EXPECT_EQ(data.train().sample_shape(), (Shape{1, 28, 28}));
  EXPECT_EQ(data.train().class_counts(10),
            (std::vector<int64_t>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  EXPECT_EQ(data.test().class_counts(10),
            (std::vector<int64_t>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
  const DataView::Moments moments = data.train().channel_moments();
  ASSERT_EQ(moments.mean.size(), 1u);
  EXPECT_NEAR(moments.mean[0], 0.13066, 5e-6);
  EXPECT_NEAR(moments.deviation[0], 0.30811, 5e-6);
}

TEST(RealData, FashionMnist) {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  }
  const Dataset data = load_dataset(folder);
  EXPECT_EQ(data.name, "Fashion-MNIST");
  EXPECT_EQ(data.class_names[9], "Ankle boot");
  EXPECT_EQ(data.train().class_counts(10), std::vector<int64_t>(10, 6000));
  EXPECT_EQ(data.test().class_counts(10), std::vector<int64_t>(10, 1000));
  const DataView::Moments moments = data.train().channel_moments();
  EXPECT_NEAR(moments.mean[0], 0.286041, 5e-7);
  EXPECT_NEAR(moments.deviation[0], 0.353024, 5e-7);
}

}  // namespace
}  // namespace tanul
