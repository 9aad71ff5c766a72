// SPDX-License-Identifier: Apache-2.0
// The IDX format, plain or gzipped: two zero bytes, the element type, the rank, the extents as
// big-endian 32-bit numbers, then the elements, big-endian, row-major. Source: Y. LeCun, "The MNIST
// database", "The IDX file format".
//
// A header is a claim, not a fact: memory for the elements is taken only when the file can hold
// them. Offsets in messages count in the unpacked content unless they speak of the gzip stream.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/format.h"
#include "io/file.h"
#include "tanul/data.h"

namespace tanul {

namespace {

struct IdxType {
  uint8_t code;
  DType dtype;
};

constexpr std::array<IdxType, 6> kIdxTypes{{{0x08, DType::u8},
                                            {0x09, DType::i8},
                                            {0x0b, DType::i16},
                                            {0x0c, DType::i32},
                                            {0x0d, DType::f32},
                                            {0x0e, DType::f64}}};

// Deflate cannot pack better than 1032 : 1 (zlib's documentation, "Maximum Compression Factor").
constexpr int64_t kMaxDeflateRatio = 1032;

// The content of a file in reading order, unpacked where it is gzipped (told by its first two
// bytes, not by its name).
class ByteSource {
 public:
  ByteSource(const std::string& path, const std::string& file)
      : path_(path),
        file_(file),
        is_gzip_(file.size() >= 2 && file[0] == 0x1f && static_cast<uint8_t>(file[1]) == 0x8b) {
    if (!is_gzip_) return;
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) fail(Code::out_of_memory, "{}: zlib", path);
    stream_is_open_ = true;
  }
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  ~ByteSource() {
    if (stream_is_open_) inflateEnd(&stream_);
  }

  bool is_gzip() const { return is_gzip_; }
  // True when the gzip stream stopped before its end.
  bool is_cut() const { return is_cut_; }

  // Up to `bytes` bytes; fewer only at the end. Throws Error{format} for a corrupt gzip stream.
  int64_t read(void* to, int64_t bytes) {
    if (is_gzip_) return read_gzip(static_cast<Bytef*>(to), bytes);
    const int64_t got = std::min(bytes, size() - at_);
    std::memcpy(to, file_.data() + at_, static_cast<size_t>(got));
    at_ += got;
    return got;
  }

  // Reads to the end without keeping anything: how many bytes were left.
  int64_t count_rest() {
    if (!is_gzip_) {
      const int64_t rest = size() - at_;
      at_ = size();
      return rest;
    }
    std::vector<char> scratch(1 << 16);
    int64_t total = 0;
    for (;;) {
      const int64_t got = read(scratch.data(), static_cast<int64_t>(scratch.size()));
      total += got;
      if (got < static_cast<int64_t>(scratch.size())) return total;
    }
  }

  // Whether content of this length is possible without reading it all: exact for a plain file. For
  // a gzipped one the ratio must be possible and the length in the last four bytes must agree.
  bool may_hold(int64_t bytes) const {
    if (!is_gzip_) return bytes <= size();
    if (size() < 18 || bytes / kMaxDeflateRatio > size()) return false;
    uint32_t packed_length = 0;
    for (size_t i = 0; i < 4; ++i) {
      packed_length |= uint32_t{static_cast<uint8_t>(file_[file_.size() - 4 + i])} << (8 * i);
    }
    return packed_length == static_cast<uint32_t>(bytes);
  }

 private:
  int64_t size() const { return static_cast<int64_t>(file_.size()); }

  int64_t read_gzip(Bytef* to, int64_t bytes) {
    int64_t done = 0;
    while (done < bytes && !is_finished_) {
      const auto in = static_cast<uInt>(std::min<int64_t>(size() - at_, INT_MAX));
      const auto out = static_cast<uInt>(std::min<int64_t>(bytes - done, INT_MAX));
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(file_.data() + at_));
      stream_.avail_in = in;
      stream_.next_out = to + done;
      stream_.avail_out = out;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      at_ += in - stream_.avail_in;
      done += out - stream_.avail_out;
      if (status == Z_STREAM_END) {
        next_member();
      } else if (status == Z_BUF_ERROR || (status == Z_OK && at_ == size() && stream_.avail_out)) {
        is_finished_ = is_cut_ = true;
      } else if (status == Z_MEM_ERROR) {
        fail(Code::out_of_memory, "{}: no memory to unpack it", path_);
      } else if (status != Z_OK) {
        fail(Code::format, "{}: corrupt gzip stream at offset {}: {}; fetch the file again", path_,
             at_, stream_.msg ? stream_.msg : "not a deflate stream");
      }
    }
    return done;
  }

  // A gzip file may be several members, one behind the other; anything else behind one is wrong.
  void next_member() {
    if (at_ == size()) {
      is_finished_ = true;
    } else if (size() - at_ >= 2 && file_[static_cast<size_t>(at_)] == 0x1f &&
               static_cast<uint8_t>(file_[static_cast<size_t>(at_) + 1]) == 0x8b) {
      inflateReset(&stream_);
    } else {
      fail(Code::format, "{}: {} trailing bytes behind the gzip stream, from offset {}", path_,
           size() - at_, at_);
    }
  }

  const std::string& path_;
  const std::string& file_;
  const bool is_gzip_;
  int64_t at_ = 0;  // in the file
  z_stream stream_{};
  bool stream_is_open_ = false;
  bool is_finished_ = false;
  bool is_cut_ = false;
};

struct IdxHeader {
  DType dtype = DType::u8;
  Shape shape;
  int64_t offset = 0;  // of the first element
  int64_t bytes = 0;   // of all elements

  // "60000 x 28 x 28 = 47040000 bytes", "10 x 4 of i32 = 160 bytes"
  std::string promise() const {
    std::string text = shape.rank() == 0 ? "a scalar" : "";
    for (int i = 0; i < shape.rank(); ++i) text += fmt::format("{}{}", i ? " x " : "", shape[i]);
    if (dtype != DType::u8) text += fmt::format(" of {}", dtype_name(dtype));
    return fmt::format("{} = {} bytes", text, bytes);
  }
};

std::string cut_note(const ByteSource& source, int64_t file_bytes) {
  if (!source.is_cut()) return "";
  return fmt::format(" (its gzip stream breaks off at offset {}); fetch it again", file_bytes);
}

IdxHeader read_header(ByteSource& source, const std::string& path, int64_t file_bytes) {
  uint8_t magic[4] = {};
  const int64_t got = source.read(magic, 4);
  if (got > 0 && (magic[0] != 0 || (got > 1 && magic[1] != 0))) {
    std::string bytes;
    for (int64_t i = 0; i < got; ++i) bytes += fmt::format(" {:02x}", magic[i]);
    fail(Code::format, "{}: wrong magic{} at offset 0: an IDX file starts with 00 00", path, bytes);
  }
  if (got < 4) {
    fail(Code::format, "{}: truncated: an IDX header has at least 4 bytes, the file has {}{}", path,
         got, cut_note(source, file_bytes));
  }
  const auto* type = std::find_if(kIdxTypes.begin(), kIdxTypes.end(),
                                  [&](const IdxType& t) { return t.code == magic[2]; });
  if (type == kIdxTypes.end()) {
    fail(Code::format,
         "{}: unknown element type 0x{:02x} at offset 2: IDX has 0x08 u8, 0x09 i8, 0x0b i16, 0x0c "
         "i32, 0x0d f32, 0x0e f64",
         path, magic[2]);
  }
  const int rank = magic[3];
  if (rank > Shape::kMaxRank) {
    fail(Code::format, "{}: rank {} at offset 3: at most {} extents can be read", path, rank,
         Shape::kMaxRank);
  }

  IdxHeader header;
  header.dtype = type->dtype;
  header.offset = 4 + 4 * rank;
  std::array<uint8_t, 4 * Shape::kMaxRank> sizes{};
  const int64_t got_sizes = source.read(sizes.data(), 4 * rank);
  if (got_sizes < 4 * rank) {
    fail(Code::format, "{}: truncated: a header of rank {} has {} bytes, the file has {}{}", path,
         rank, header.offset, 4 + got_sizes, cut_note(source, file_bytes));
  }
  std::vector<int64_t> extents;
  header.bytes = dtype_bytes(header.dtype);
  bool overflows = false;
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    extents.push_back(int64_t{sizes[4 * i]} << 24 | sizes[4 * i + 1] << 16 | sizes[4 * i + 2] << 8 |
                      sizes[4 * i + 3]);
    // An extent of 0 must not hide that the others are absurd: Shape refuses such products too.
    overflows |=
        __builtin_mul_overflow(header.bytes, std::max<int64_t>(extents.back(), 1), &header.bytes) ||
        header.bytes > (int64_t{1} << 62);
    if (overflows) header.bytes = 1;
  }
  header.shape = Shape(extents);
  if (overflows) {
    fail(Code::format, "{}: the extents {} at offset 4 overflow: no file holds so many bytes", path,
         header.shape.str());
  }
  if (std::count(extents.begin(), extents.end(), 0) > 0) header.bytes = 0;
  return header;
}

template <typename Word>
void swap_words(void* data, int64_t count) {
  auto* bytes = static_cast<uint8_t*>(data);
  for (int64_t i = 0; i < count; ++i, bytes += sizeof(Word)) {
    std::reverse(bytes, bytes + sizeof(Word));
  }
}

// Between big-endian and this machine's order, in place.
void swap_big_endian(void* data, int64_t count, DType dtype) {
  if constexpr (std::endian::native == std::endian::big) return;
  switch (dtype_bytes(dtype)) {
    case 2: return swap_words<uint16_t>(data, count);
    case 4: return swap_words<uint32_t>(data, count);
    case 8: return swap_words<uint64_t>(data, count);
    default: return;
  }
}

[[noreturn]] void fail_truncated(const std::string& path, const IdxHeader& header, int64_t got,
                                 const ByteSource& source, int64_t file_bytes) {
  fail(Code::format, "{}: truncated: the header promises {} after offset {}, the file has {}{}",
       path, header.promise(), header.offset, got, cut_note(source, file_bytes));
}

[[noreturn]] void fail_trailing(const std::string& path, const IdxHeader& header, int64_t extra) {
  fail(Code::format, "{}: {} trailing bytes from offset {}: the header promises {} after offset {}",
       path, extra, header.offset + header.bytes, header.promise(), header.offset);
}

std::string gzip(const std::string& path, const std::string& content) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    fail(Code::out_of_memory, "{}: no memory to pack it", path);
  }
  std::string packed;
  std::vector<char> buffer(1 << 16);
  size_t at = 0;
  int status = Z_OK;
  while (status != Z_STREAM_END) {
    const size_t in = std::min<size_t>(content.size() - at, 1 << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data() + at));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    status = deflate(&stream, at + in == content.size() ? Z_FINISH : Z_NO_FLUSH);
    at += in - stream.avail_in;
    packed.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return packed;
}

}  // namespace

Tensor read_idx(const std::string& path) {
  const std::string file = read_file(path);
  const auto file_bytes = static_cast<int64_t>(file.size());
  std::optional<ByteSource> source(std::in_place, path, file);
  const IdxHeader header = read_header(*source, path, file_bytes);

  if (!source->may_hold(header.offset + header.bytes)) {
    const int64_t rest = source->count_rest();
    if (rest < header.bytes) fail_truncated(path, header, rest, *source, file_bytes);
    if (rest > header.bytes) fail_trailing(path, header, rest - header.bytes);
    // Several gzip members: the length in the last four bytes was that of the last one only.
    source.emplace(path, file);
    read_header(*source, path, file_bytes);
  }

  Tensor tensor(header.shape, header.dtype);
  const int64_t got = source->read(tensor.raw(), header.bytes);
  if (got < header.bytes) fail_truncated(path, header, got, *source, file_bytes);
  const int64_t extra = source->count_rest();  // reads a gzip stream's checksum too
  if (extra > 0) fail_trailing(path, header, extra);
  if (source->is_cut()) {
    fail(Code::format, "{}: truncated: its gzip stream breaks off at offset {}; fetch it again",
         path, file_bytes);
  }
  swap_big_endian(tensor.raw(), tensor.elems(), tensor.dtype());
  return tensor;
}

void write_idx(const std::string& path, const Tensor& tensor) {
  if (tensor.empty()) fail(Code::invalid_argument, "{}: an empty tensor cannot be written", path);
  const auto* type = std::find_if(kIdxTypes.begin(), kIdxTypes.end(),
                                  [&](const IdxType& t) { return t.dtype == tensor.dtype(); });
  if (type == kIdxTypes.end()) {
    fail(Code::invalid_argument,
         "{}: IDX has no element type {}; convert the tensor to one of u8 i8 i16 i32 f32 f64", path,
         dtype_name(tensor.dtype()));
  }
  std::string content{0, 0, static_cast<char>(type->code),
                      static_cast<char>(tensor.shape().rank())};
  for (int64_t extent : tensor.shape()) {
    if (extent > int64_t{UINT32_MAX}) {
      fail(Code::invalid_argument, "{}: IDX extents are below 2^32, the tensor is {}", path,
           tensor.shape().str());
    }
    for (int shift = 24; shift >= 0; shift -= 8) content += static_cast<char>(extent >> shift);
  }
  const size_t offset = content.size();
  content.append(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  swap_big_endian(content.data() + offset, tensor.elems(), tensor.dtype());
  write_file_atomic(path, path.ends_with(".gz") ? gzip(path, content) : content);
}

}  // namespace tanul
