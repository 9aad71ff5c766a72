// SPDX-License-Identifier: Apache-2.0
#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>

#include "core/format.h"

namespace tanul {

namespace {

std::string reason() { return std::strerror(errno); }

// Closes a descriptor when it goes out of scope.
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::string read_file(const std::string& path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) fail(Code::not_found, "{}: no such file", path);
    fail(Code::io, "{}: cannot be opened: {}", path, reason());
  }
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail(Code::io, "{}: {}", path, reason());
  if (S_ISDIR(info.st_mode)) fail(Code::not_found, "{}: is a folder, a file was expected", path);
  std::string content;
  try {
    content.reserve(static_cast<size_t>(info.st_size > 0 ? info.st_size : 0));
  } catch (const std::exception&) {  // bad_alloc or length_error; a sparse file can claim terabytes
    fail(Code::out_of_memory, "{}: no memory to read its {} bytes", path, info.st_size);
  }
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(Code::io, "{}: cannot be read: {}", path, reason());
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
  }
}

void write_file_atomic(const std::string& path, std::string_view content) {
  static std::atomic<unsigned> serial{0};
  const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), serial.fetch_add(1));
  Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
  if (file.fd < 0) fail(Code::io, "{}: cannot be written: {}", path, reason());
  const auto give_up = [&] {
    const std::string why = reason();
    ::unlink(temporary.c_str());
    fail(Code::io, "{}: cannot be written: {}", path, why);
  };
  for (size_t done = 0; done < content.size();) {
    const ssize_t put = ::write(file.fd, content.data() + done, content.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) give_up();
    done += static_cast<size_t>(put);
  }
  if (::fsync(file.fd) != 0) give_up();
  if (::rename(temporary.c_str(), path.c_str()) != 0) give_up();
}

}  // namespace tanul
