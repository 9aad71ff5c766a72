// SPDX-License-Identifier: Apache-2.0
#include "cli/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "core/format.h"

namespace tanul::cli {

namespace {

using Clock = std::chrono::steady_clock;

std::string reason() { return std::strerror(errno); }

[[noreturn]] void fail_io(const std::string& path, const char* what) {
  fail(Code::io, "{}: {}: {}", path, what, reason());
}

// A file descriptor that is closed with its owner.
class File {
 public:
  File(std::string path, int flags) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

  int64_t size() const {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) fail_io(path_, "cannot be read");
    return info.st_size;
  }
  void clear() {
    if (::ftruncate(fd_, 0) != 0) fail_io(path_, "cannot be written");
  }
  // Behind the end. False, with errno, where that fails.
  bool append(const char* data, size_t bytes) {
    while (bytes > 0) {
      const ssize_t put = ::write(fd_, data, bytes);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;
      data += put;
      bytes -= static_cast<size_t>(put);
    }
    return true;
  }

 private:
  std::string path_;
  int fd_ = -1;
};

std::string sha256_of(const File& file) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    fail(Code::io, "{}: OpenSSL offers no SHA-256", file.path());
  }
  std::vector<char> buffer(1 << 16);
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(file.fd(), buffer.data(), buffer.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io(file.path(), "cannot be read");
    if (got == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(got));
    at += got;
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int digest_bytes = 0;
  EVP_DigestFinal_ex(context.get(), digest, &digest_bytes);
  std::string text;
  for (unsigned int i = 0; i < digest_bytes; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

// What one request came to.
enum class Outcome {
  complete,      // the server says that this was all
  interrupted,   // cut or stalled: worth another attempt that resumes
  bad_range,     // the server cannot resume from here: worth another attempt from zero
  wrong,         // more bytes than the file has
  mirror_fails,  // this mirror has nothing for us
};

struct Answer {
  Outcome outcome = Outcome::mirror_fails;
  std::string why;
};

// One request; the C callbacks of libcurl end here. No exception may pass through libcurl, so what
// is thrown inside is kept and thrown again behind it.
class Request {
 public:
  Request(const RemoteFile& remote, const std::string& url, File& part,
          const DownloadOptions& options)
      : remote_(remote),
        url_(url),
        part_(part),
        options_(options),
        curl_(curl_easy_init(), curl_easy_cleanup),
        offset_(part.size()),
        done_(offset_) {
    if (!curl_) fail(Code::io, "{}: libcurl cannot be started", url);
  }

  Answer run() {
    CURL* curl = curl_.get();
    char text[CURL_ERROR_SIZE] = "";
    const auto connect_ms = static_cast<long>(std::max(options_.connect_timeout_s, 0.001) * 1e3);
    curl_easy_setopt(curl, CURLOPT_URL, url_.c_str());
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "tanul");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Request::on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Request::on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Request::on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    const std::string range = fmt::format("{}-", offset_);
    if (offset_ > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());

    last_byte_at_ = Clock::now();
    const CURLcode code = curl_easy_perform(curl);
    if (thrown_) std::rethrow_exception(thrown_);
    return judge(code, text);
  }

 private:
  Answer judge(CURLcode code, const char* text) const {
    long status = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
    const std::string detail = text[0] ? text : curl_easy_strerror(code);
    if (is_stalled_) {
      return {Outcome::interrupted,
              fmt::format("stalled: no data for {:g} s", options_.stall_timeout_s)};
    }
    if (is_too_long_) {
      return {Outcome::wrong, fmt::format("wrong content: more than {} bytes", remote_.bytes)};
    }
    if (is_wrong_range_ || status == 416) {
      return {Outcome::bad_range, fmt::format("cannot resume from byte {}", offset_)};
    }
    switch (code) {
      case CURLE_OK:
        // An answer without a body never reached on_data: what is in the part is not its content.
        if (!has_body_ && offset_ > 0) {
          return {Outcome::bad_range, fmt::format("cannot resume from byte {}", offset_)};
        }
        return {Outcome::complete, ""};
      case CURLE_HTTP_RETURNED_ERROR:
        return {Outcome::mirror_fails, fmt::format("HTTP {}", status)};
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
      case CURLE_GOT_NOTHING:
      case CURLE_HTTP2:
      case CURLE_HTTP2_STREAM:
        return {Outcome::interrupted, fmt::format("the connection was cut: {}", detail)};
      default: return {Outcome::mirror_fails, detail};
    }
  }

  // The first bytes of a body decide what they are: the rest that was asked for (206), the whole
  // file from a server that ignores Range (200), or nothing that belongs into the part.
  bool begin_body() {
    has_body_ = true;
    long status = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status == 206) {
      is_wrong_range_ = offset_ == 0 || range_start_ != offset_;
      return !is_wrong_range_;
    }
    if (done_ > 0) {
      part_.clear();
      done_ = 0;
    }
    curl_off_t length = -1;
    curl_easy_getinfo(curl_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    total_ = length;
    return true;
  }

  size_t take(const char* data, size_t bytes) {
    last_byte_at_ = Clock::now();
    if (!has_body_ && !begin_body()) return 0;
    if (remote_.bytes > 0 && done_ + static_cast<int64_t>(bytes) > remote_.bytes) {
      is_too_long_ = true;
      return 0;
    }
    if (!part_.append(data, bytes)) fail_io(part_.path(), "cannot be written");
    done_ += static_cast<int64_t>(bytes);
    return bytes;
  }

  void take_header(std::string_view line) {
    last_byte_at_ = Clock::now();
    // A redirect has headers of its own; those of the last answer count.
    if (line.starts_with("HTTP/")) range_start_ = -1;
    constexpr std::string_view kRange = "content-range: bytes ";
    if (line.size() > kRange.size() &&
        ::strncasecmp(line.data(), kRange.data(), kRange.size()) == 0) {
      const std::string value(line.substr(kRange.size()));
      char* end = nullptr;
      range_start_ = std::strtoll(value.c_str(), &end, 10);
      const size_t slash = value.find('/');
      if (slash != std::string::npos && value[slash + 1] != '*') {
        total_ = std::strtoll(value.c_str() + slash + 1, nullptr, 10);
      }
    }
  }

  // False to give up.
  bool tick() {
    const auto now = Clock::now();
    if (std::chrono::duration<double>(now - last_byte_at_).count() > options_.stall_timeout_s) {
      // Until there is a connection its own limit counts.
      curl_off_t connect_us = 0;
      curl_easy_getinfo(curl_.get(), CURLINFO_CONNECT_TIME_T, &connect_us);
      if (connect_us > 0) {
        is_stalled_ = true;
        return false;
      }
    }
    if (options_.progress && now - last_report_at_ > std::chrono::milliseconds(100)) {
      last_report_at_ = now;
      options_.progress({DownloadProgress::State::running, remote_.name, url_, done_,
                         remote_.bytes > 0 ? remote_.bytes : total_, ""});
    }
    return true;
  }

  template <typename Result, typename Function>
  Result guarded(Result failure, Function function) noexcept {
    try {
      return function();
    } catch (...) {
      thrown_ = std::current_exception();
      return failure;
    }
  }

  static size_t on_data(char* data, size_t size, size_t count, void* self) {
    auto* request = static_cast<Request*>(self);
    // Any number but size * count stops the transfer; an empty chunk needs another one than 0.
    return request->guarded<size_t>(CURL_WRITEFUNC_ERROR, [&] {
      const size_t bytes = size * count;
      return request->take(data, bytes) == bytes ? bytes : size_t{CURL_WRITEFUNC_ERROR};
    });
  }
  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    auto* request = static_cast<Request*>(self);
    return request->guarded<size_t>(CURL_WRITEFUNC_ERROR, [&] {
      request->take_header({data, size * count});
      return size * count;
    });
  }
  static int on_tick(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto* request = static_cast<Request*>(self);
    return request->guarded<int>(1, [&] { return request->tick() ? 0 : 1; });
  }

  const RemoteFile& remote_;
  const std::string& url_;
  File& part_;
  const DownloadOptions& options_;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  const int64_t offset_;  // where this request starts in the file
  int64_t done_;          // bytes in the part
  int64_t total_ = -1;
  int64_t range_start_ = -1;
  bool has_body_ = false;
  bool is_wrong_range_ = false;
  bool is_too_long_ = false;
  bool is_stalled_ = false;
  Clock::time_point last_byte_at_;
  Clock::time_point last_report_at_;
  std::exception_ptr thrown_;
};

// One file: its part, its mirrors, its final name.
class Download {
 public:
  Download(const RemoteFile& remote, const DownloadOptions& options)
      : remote_(remote),
        options_(options),
        path_((std::filesystem::path(options.folder) / remote.name).string()),
        part_(path_ + ".part", O_RDWR | O_CREAT | O_APPEND) {
    if (!part_.is_open()) fail_io(part_.path(), "cannot be written");
    if (::flock(part_.fd(), LOCK_EX | LOCK_NB) != 0) {
      fail(Code::io, "{}: another download writes it", part_.path());
    }
  }

  void run() {
    if (part_.size() > 0 && sha256_of(part_) == remote_.sha256) return finish("");
    for (const std::string& url : remote_.urls) {
      std::string why;
      if (try_mirror(url, why)) return finish(url);
      failures_ += fmt::format("{}{}: {}", failures_.empty() ? "" : "; ", url, why);
      report(DownloadProgress::State::retrying, url, why);
    }
    const int64_t kept = part_.size();
    if (kept == 0) ::unlink(part_.path().c_str());
    fail(Code::io, "{}: no mirror delivered it: {}{}", path_,
         failures_.empty() ? "none is known" : failures_,
         kept == 0
             ? ""
             : fmt::format("; the first {} bytes are kept and the next attempt resumes", kept));
  }

 private:
  // True when the part holds the file. A mirror has 1 + retries attempts; starting over because
  // what was resumed turned out wrong, or cannot be resumed, costs one of them too.
  bool try_mirror(const std::string& url, std::string& why) {
    double delay_s = options_.retry_delay_s;
    for (int attempt = 0; attempt <= std::max(options_.retries, 0); ++attempt) {
      if (attempt > 0) {
        report(DownloadProgress::State::retrying, url, why);
        std::this_thread::sleep_for(std::chrono::duration<double>(std::max(delay_s, 0.0)));
        delay_s = std::min(2.0 * delay_s, 10.0);
      }
      // Content that other attempts or mirrors began may be what is wrong; this mirror is not
      // condemned before it has sent the whole file itself.
      const bool is_resumed = part_.size() > 0;
      const Answer answer = Request(remote_, url, part_, options_).run();
      why = answer.why;
      switch (answer.outcome) {
        case Outcome::complete: {
          const std::string got = sha256_of(part_);
          if (got == remote_.sha256) return true;
          why = fmt::format("wrong content (SHA-256 {}…, published is {}…)", got.substr(0, 12),
                            remote_.sha256.substr(0, 12));
          part_.clear();
          if (!is_resumed) return false;
          break;
        }
        case Outcome::wrong:
          part_.clear();
          if (!is_resumed) return false;
          break;
        case Outcome::bad_range: part_.clear(); break;
        case Outcome::interrupted: break;
        case Outcome::mirror_fails: return false;
      }
    }
    if (options_.retries > 0) why += fmt::format(" ({} attempts)", options_.retries + 1);
    return false;
  }

  void finish(const std::string& url) {
    if (::fsync(part_.fd()) != 0) fail_io(part_.path(), "cannot be written");
    if (::rename(part_.path().c_str(), path_.c_str()) != 0) fail_io(path_, "cannot be written");
    report(DownloadProgress::State::finished, url, "");
  }

  void report(DownloadProgress::State state, const std::string& url, const std::string& message) {
    if (!options_.progress) return;
    options_.progress({state, remote_.name, url, part_.size(),
                       remote_.bytes > 0 ? remote_.bytes : int64_t{-1}, message});
  }

  const RemoteFile& remote_;
  const DownloadOptions& options_;
  const std::string path_;
  File part_;
  std::string failures_;
};

// True when the file is there with the published content.
bool is_there(const RemoteFile& remote, const std::string& path, bool replace) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return false;
  const std::string got = sha256_of_file(path);
  if (got == remote.sha256) return true;
  if (replace) return false;
  fail(Code::exists,
       "{}: is there already with other content (SHA-256 {}…, published is {}…); move it away or "
       "ask for it to be replaced",
       path, got.substr(0, 12), remote.sha256.substr(0, 12));
}

}  // namespace

std::string sha256_of_file(const std::string& path) {
  const File file(path, O_RDONLY);
  if (!file.is_open()) {
    if (errno == ENOENT) fail(Code::not_found, "{}: no such file", path);
    fail_io(path, "cannot be opened");
  }
  return sha256_of(file);
}

void download_dataset(const std::vector<RemoteFile>& files, const DownloadOptions& options) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) {
    fail(Code::io, "{}: the folder cannot be made: {}", options.folder, error.message());
  }
  for (const RemoteFile& remote : files) {
    const std::string path = (std::filesystem::path(options.folder) / remote.name).string();
    if (!is_there(remote, path, options.replace)) {
      Download(remote, options).run();
    } else if (options.progress) {
      options.progress(
          {DownloadProgress::State::kept, remote.name, "", remote.bytes, remote.bytes, ""});
    }
  }
}

}  // namespace tanul::cli
