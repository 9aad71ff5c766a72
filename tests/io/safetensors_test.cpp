// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/checkpoint.h"

namespace tanul {
namespace {

using test::expect_error;
using test::TempFolder;

std::string le64(uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

// A file of that header (as it stands) and data.
std::string file_of(const std::string& header, const std::string& data = "") {
  return le64(header.size()) + header + data;
}

// A header with one tensor "x".
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

std::string flipped(std::string bytes, size_t at) {
  bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
  return bytes;
}

TensorFile sample_file() {
  TensorFile file;
  file.tensors.emplace_back("conv1.weight", Tensor::from<float>({2, 2}, {1.f, -2.f, 3.5f, 1e-40f}));
  file.tensors.emplace_back("a \"quoted\" \\ näme\n", Tensor::from<double>({1}, {0.1}));
  file.tensors.emplace_back("empty", Tensor({0, 3}, DType::i64));
  file.tensors.emplace_back("bytes", Tensor::from<uint8_t>({3}, {1, 2, 255}));
  file.tensors.emplace_back("scalar", Tensor::from<int64_t>({}, {-7}));
  file.tensors.emplace_back("half", Tensor({2}, DType::f16));
  file.tensors.emplace_back("brain", Tensor({1, 1}, DType::bf16));
  file.tensors.emplace_back("i8", Tensor::from<int8_t>({2}, {-128, 127}));
  file.tensors.emplace_back("i16", Tensor::from<int16_t>({2}, {-32768, 258}));
  file.tensors.emplace_back("i32", Tensor::from<int32_t>({1, 2}, {INT32_MIN, 5}));
  file.metadata = {{"format", "tanul"}, {"epoch", "12"}, {"note", "tab\tund \"ß\""}};
  return file;
}

TEST(Safetensors, ReadsBackWhatItWroteInTheSameOrder) {
  const TempFolder folder;
  const TensorFile file = sample_file();
  write_safetensors(folder / "x", file);
  const TensorFile back = read_safetensors(folder / "x");
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const auto& [name, tensor] = file.tensors[i];
    EXPECT_EQ(back.tensors[i].first, name);
    const Tensor& got = back.tensors[i].second;
    EXPECT_EQ(got.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(got.shape(), tensor.shape()) << name;
    EXPECT_EQ(std::memcmp(got.raw(), tensor.raw(), static_cast<size_t>(tensor.bytes())), 0) << name;
  }
  ASSERT_NE(back.find("scalar"), nullptr);
  EXPECT_EQ(back.find("scalar")->data<int64_t>()[0], -7);
  EXPECT_EQ(back.find("nothing"), nullptr);
}

TEST(Safetensors, WritesTheFormatsBytes) {
  const TempFolder folder;
  TensorFile file;
  file.tensors.emplace_back("w", Tensor::from<int16_t>({1, 2}, {1, 2}));
  file.tensors.emplace_back("b", Tensor::from<uint8_t>({1}, {'z'}));
  file.metadata["k"] = "v";
  write_safetensors(folder / "x", file);
  std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"dtype":"I16","shape":[1,2],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})";
  while (header.size() % 8 != 0) header += ' ';
  const std::string expected = file_of(header, std::string("\1\0\2\0z", 5));
  EXPECT_EQ(folder.read("x"), expected);
  write_safetensors(folder / "x", file);  // replaces, and the bytes depend on the content alone
  EXPECT_EQ(folder.read("x"), expected);
  EXPECT_EQ(folder.entries(), 1);

  write_safetensors(folder / "none", {});
  EXPECT_EQ(folder.read("none"), file_of("{}      "));
  EXPECT_TRUE(read_safetensors(folder / "none").tensors.empty());
}

// What other writers do and the format allows.
TEST(Safetensors, ReadsOtherWritersFiles) {
  const TempFolder folder;
  const auto read = [&](const std::string& bytes) {
    return read_safetensors(folder.write("x", bytes));
  };
  // Names sorted in the header, data in another order, float data that lies unaligned.
  const TensorFile unsorted = read(
      file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"b":{"data_offsets":[0,1],)"
              R"("shape":[],"dtype":"U8"}} )",
              std::string("\x07\0\0\x80\x3f", 5)));
  ASSERT_EQ(unsorted.tensors.size(), 2u);
  EXPECT_EQ(unsorted.tensors[0].first, "b");
  EXPECT_EQ(unsorted.find("a")->data<float>()[0], 1.f);

  const TensorFile booleans = read(file_of(one("\"BOOL\"", "[3]", "[0,3]"), "\1\1\1"));
  EXPECT_EQ(booleans.find("x")->dtype(), DType::u8);

  const TensorFile empties =
      read(file_of(R"({"z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                   R"("y":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]},"__metadata__":{}})"));
  ASSERT_EQ(empties.tensors.size(), 2u);
  EXPECT_EQ(empties.tensors[0].first, "z");

  // A later version's further keys in a tensor's object, as the reference reads them.
  EXPECT_EQ(
      read(file_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"new":{"a":[1]}}})", "q"))
          .tensors.size(),
      1u);
}

TEST(Safetensors, RefusesToWriteWhatTheFormatCannotHold) {
  const TempFolder folder;
  const std::string path = folder / "x";
  const auto write = [&](const std::vector<std::string>& names) {
    TensorFile file;
    for (const std::string& name : names) file.tensors.emplace_back(name, Tensor({1}));
    write_safetensors(path, file);
  };
  expect_error(Code::invalid_argument, path + ": tensor \"w\": two tensors have this name", [&] {
    write({"w", "w"});
  });
  expect_error(Code::invalid_argument, "tensor \"__metadata__\": this name is the format's own",
               [&] { write({"__metadata__"}); });
  expect_error(Code::invalid_argument, "is not UTF-8", [&] { write({"\xff\xfe"}); });
  expect_error(Code::invalid_argument, "tensor \"w\" is empty and cannot be written", [&] {
    TensorFile file;
    file.tensors.emplace_back("w", Tensor());
    write_safetensors(path, file);
  });
  expect_error(Code::io, "none/x: cannot be written",
               [&] { write_safetensors(folder / "none/x", {}); });
  EXPECT_EQ(folder.entries(), 0);
}

struct CorruptFile {
  const char* name;
  std::string bytes;
  std::string message;  // behind "PATH: "
  Code code = Code::format;
};

std::vector<CorruptFile> corrupt_files() {
  const std::string f32 = "\"F32\"";
  const std::string good = file_of(one(f32, "[2]", "[0,8]"), "abcdefgh");
  const std::string y4 = R"("y":{"dtype":"U8","shape":[4],"data_offsets":)";
  const auto two = [&](const std::string& x, const std::string& y) {
    return file_of(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":)" + x + "}," + y4 + y + "}}",
                   "abcdefgh");
  };
  const auto meta = [](const std::string& value) {
    return file_of(R"({"__metadata__":)" + value + "}");
  };
  std::string deep_arrays(100000, '[');
  std::string deep_objects;
  for (int i = 0; i < 50000; ++i) deep_objects += R"({"a":)";
  return {
      {"empty", "", "truncated: a safetensors file has at least 8 bytes, the file has 0"},
      {"seven", std::string(7, '\0'),
       "truncated: a safetensors file has at least 8 bytes, the file has 7"},
      {"no_header", le64(0), "the header at offset 8 must start with {, but it is empty"},
      {"no_header_but_data", le64(0) + "{}",
       "the header at offset 8 must start with {, but it is empty"},
      {"text", "{\"a\": 1, \"b\": 2}",
       "the header length 3184361845584634491 at offset 0 is above the limit of 100000000 bytes; "
       "is it a safetensors file?"},
      {"length_max", le64(UINT64_MAX) + "{}",
       "the header length 18446744073709551615 at offset 0 is above the limit"},
      {"length_above_limit", le64(100000001) + "{}", "the header length 100000001 at offset 0"},
      {"length_beyond_file", le64(3) + "{}",
       "truncated: the header promises 3 bytes after offset 8, the file has 2"},
      {"length_at_limit", le64(100000000) + "{}",
       "truncated: the header promises 100000000 bytes after offset 8, the file has 2"},
      {"starts_with_space", file_of(" {}"),
       "the header at offset 8 must start with {, got byte 0x20"},
      {"starts_with_array", file_of("[]"), "must start with {, got byte 0x5b"},
      {"byte_order_mark", file_of("\xef\xbb\xbf{}"), "must start with {, got byte 0xef"},
      {"unclosed", file_of("{"), "the header is not JSON at offset 9: syntax error"},
      {"trailing_comma", file_of(R"({"a":1,})"),
       "the header is not JSON at offset 15: syntax error"},
      {"two_objects", file_of("{}{}"), "the header is not JSON at offset 10: syntax error"},
      {"comment", file_of("{/**/}"), "the header is not JSON at offset 9"},
      {"not_utf8", file_of("{\"\xff\":1}"), "the header is not JSON at offset 10: syntax error"},
      {"zero_padding", file_of(std::string("{}\0\0", 4)),
       "the header is not JSON: a zero byte at offset 10"},
      {"hidden_behind_zero", file_of(std::string("{}\0{\"x\":1}", 10)), "a zero byte at offset 10"},
      {"nan", file_of("{\"x\":NaN}"), "the header is not JSON at offset 13"},
      {"number_too_large", file_of(R"({"x":1e999})"),
       "the header at offset 8 is not usable JSON: "},
      {"deep_arrays", file_of("{\"x\":" + deep_arrays),
       "the header at offset 8 is nested more than 16 levels deep"},
      {"deep_objects", file_of(deep_objects),
       "the header at offset 8 is nested more than 16 levels deep"},
      {"twice",
       file_of(
           R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       "the header at offset 8 has \"x\" twice"},
      {"twice_escaped",
       file_of(
           R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0078":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       "the header at offset 8 has \"x\" twice"},
      {"twice_inside",
       file_of(R"({"x":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}})"),
       "the header at offset 8 has \"dtype\" twice"},
      {"metadata_twice", file_of(R"({"__metadata__":{},"__metadata__":{}})"),
       "has \"__metadata__\" twice"},
      {"metadata_list", meta("[]"), "__metadata__ must be an object, got array"},
      {"metadata_number", meta(R"({"epoch":12})"),
       "__metadata__ \"epoch\" must be a text, got number"},
      {"metadata_null", meta("null"), "__metadata__ must be an object, got null"},
      {"tensor_number", file_of(R"({"x":1})"), "tensor \"x\": must be an object, got number"},
      {"tensor_null", file_of(R"({"x":null})"), "tensor \"x\": must be an object, got null"},
      {"no_dtype", file_of(R"({"x":{"shape":[1],"data_offsets":[0,1]}})", "a"),
       "tensor \"x\": dtype is missing"},
      {"no_shape", file_of(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})", "a"),
       "tensor \"x\": shape is missing"},
      {"no_offsets", file_of(R"({"x":{"dtype":"U8","shape":[1]}})", "a"),
       "tensor \"x\": data_offsets is missing"},
      {"dtype_number", file_of(one("32", "[1]", "[0,4]"), "abcd"),
       "tensor \"x\": dtype must be a text"},
      {"dtype_unknown", file_of(one("\"F31\"", "[1]", "[0,4]"), "abcd"),
       "tensor \"x\": unknown dtype \"F31\": must be one of F64 F32"},
      {"dtype_lower", file_of(one("\"f32\"", "[1]", "[0,4]"), "abcd"),
       "tensor \"x\": unknown dtype \"f32\""},
      {"dtype_u64", file_of(one("\"U64\"", "[1]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": dtype U64 is not supported; convert it", Code::unsupported},
      {"shape_text", file_of(one(f32, "\"2\"", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape must be a list"},
      {"shape_negative", file_of(one(f32, "[-2]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape must hold whole numbers from 0, got -2"},
      {"shape_fraction", file_of(one(f32, "[2.0]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape must hold whole numbers from 0, got 2.0"},
      {"shape_nested", file_of(one(f32, "[[2]]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape must hold whole numbers from 0, got array"},
      {"shape_beyond_64_bits", file_of(one(f32, "[36893488147419103232]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape must hold whole numbers from 0, got 3.6893488147419103e+19"},
      {"rank_9", file_of(one("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "a"),
       "tensor \"x\": shape has 9 extents: at most 8 can be read"},
      {"shape_overflow", file_of(one(f32, "[4294967296,4294967296]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": shape [4294967296,4294967296] overflows"},
      {"shape_overflow_by_type", file_of(one("\"F64\"", "[2305843009213693952]", "[0,0]")),
       "tensor \"x\": shape [2305843009213693952] overflows"},
      {"offsets_one", file_of(one(f32, "[2]", "[8]"), "abcdefgh"),
       "tensor \"x\": data_offsets must be [begin, end], got 1 numbers"},
      {"offsets_three", file_of(one(f32, "[2]", "[0,8,8]"), "abcdefgh"),
       "tensor \"x\": data_offsets must be [begin, end], got 3 numbers"},
      {"offsets_negative", file_of(one(f32, "[2]", "[-8,0]"), "abcdefgh"),
       "tensor \"x\": data_offsets must hold whole numbers from 0, got -8"},
      {"offsets_reversed", file_of(one(f32, "[2]", "[8,0]"), "abcdefgh"),
       "tensor \"x\": data_offsets [8, 0] end before they begin"},
      {"size_too_small", file_of(one(f32, "[2]", "[0,4]"), "abcd"),
       "tensor \"x\": data_offsets [0, 4] hold 4 bytes, but [2] of F32 are 8"},
      {"size_too_large", file_of(one(f32, "[]", "[0,8]"), "abcdefgh"),
       "tensor \"x\": data_offsets [0, 8] hold 8 bytes, but [] of F32 are 4"},
      {"hole_at_start", file_of(one(f32, "[1]", "[4,8]"), "abcdefgh"),
       "tensor \"x\": data_offsets [4, 8] leave a hole: 0 was expected as begin"},
      {"hole_between", two("[0,4]", "[5,9]"),
       "tensor \"y\": data_offsets [5, 9] leave a hole: 4 was expected as begin"},
      {"overlap", two("[0,4]", "[3,7]"),
       "tensor \"y\": data_offsets [3, 7] overlap the tensor before: 4 was expected as begin"},
      {"same_place", two("[0,4]", "[0,4]"),
       "data_offsets [0, 4] overlap the tensor before: 4 was expected as begin"},
      {"beyond_file", file_of(one(f32, "[2]", "[0,8]"), "abcdefg"),
       "truncated: tensor \"x\" ends 8 bytes after offset 62, the file has 7"},
      {"far_beyond_file",
       file_of(one("\"U8\"", "[4611686018427387904]", "[0,4611686018427387904]")),
       "truncated: tensor \"x\" ends 4611686018427387904 bytes after"},
      {"offset_wraps", file_of(one("\"U8\"", "[2]", "[18446744073709551615,1]"), "a"),
       "data_offsets [18446744073709551615, 1] end before they begin"},
      {"trailing", good + "i", "1 trailing bytes from offset 70: the last tensor ends there"},
      {"trailing_without_tensors", file_of("{}", "abc"), "3 trailing bytes from offset 10"},
  };
}

TEST(Safetensors, RefusesCorruptFiles) {
  const TempFolder folder;
  const std::vector<CorruptFile> files = corrupt_files();
  ASSERT_GE(files.size(), 25u);
  for (const CorruptFile& file : files) {
    SCOPED_TRACE(file.name);
    const std::string path = folder.write(file.name, file.bytes);
    expect_error(file.code, path + ": ", [&] { read_safetensors(path); });
    expect_error(file.code, file.message, [&] { read_safetensors(path); });
  }
}

TEST(Safetensors, MissingFilesAndFolders) {
  const TempFolder folder;
  expect_error(Code::not_found, folder / "none: no such file",
               [&] { read_safetensors(folder / "none"); });
  expect_error(Code::not_found, "is a folder", [&] { read_safetensors(folder.path()); });
}

// Whatever single byte is changed, or wherever the file is cut: an error or a file.
TEST(Safetensors, SurvivesEveryFlippedByteAndEveryCut) {
  const TempFolder folder;
  write_safetensors(folder / "good", sample_file());
  const std::string good = folder.read("good");
  for (size_t at = 0; at < good.size(); ++at) {
    for (const std::string& bytes : {flipped(good, at), good.substr(0, at)}) {
      try {
        const TensorFile file = read_safetensors(folder.write("x", bytes));
        EXPECT_EQ(bytes.size(), good.size()) << "a file cut at " << at << " was read";
      } catch (const Error& e) {
        EXPECT_TRUE(e.code() == Code::format || e.code() == Code::unsupported) << e.what();
      }
    }
  }
}

// A name in a file may be anything; the message stays one line of bounded length.
TEST(Safetensors, MessagesStayReadable) {
  const TempFolder folder;
  const std::string path =
      folder.write("x", file_of("{\"" + std::string(5000, 'n') + "\\n\\u0007\":1}"));
  try {
    read_safetensors(path);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_LT(std::strlen(e.what()), path.size() + 300);
  }
  expect_error(Code::format, R"(tensor "a\nb\u0007": must be an object)",
               [&] { read_safetensors(folder.write("x", file_of(R"({"a\nb\u0007":1})"))); });
}

}  // namespace
}  // namespace tanul
