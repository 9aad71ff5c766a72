// SPDX-License-Identifier: Apache-2.0
// A table of the model file as a list of fields, said once: a function describe(fields, thing) names
// every key with its member and its range; readers, writers and the list of keys are made of it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "recipe/reader.h"

namespace tanul::recipe {

class Fields {
 public:
  virtual ~Fields() = default;
  virtual void number(const char* key, double& value, const Range& range) = 0;
  virtual void integer(const char* key, int64_t& value, int64_t low, int64_t high) = 0;
  virtual void boolean(const char* key, bool& value) = 0;
  // One of `names`; `value` is its place.
  virtual void choice(const char* key, int& value, const std::vector<std::string>& names) = 0;
  virtual void text(const char* key, std::string& value) = 0;
  virtual void texts(const char* key, std::vector<std::string>& value) = 0;
  virtual void numbers(const char* key, std::vector<double>& value, const Range& range) = 0;
  virtual void pairs(const char* key, std::vector<std::pair<double, double>>& value,
                     const Range& range) = 0;

  virtual void number(const char* key, float& value, const Range& range) {
    auto wide = static_cast<double>(value);
    number(key, wide, range);
    if (static_cast<float>(wide) != value) value = static_cast<float>(wide);
  }
};

// Takes what the table has and leaves the rest.
class FieldReader : public Fields {
 public:
  explicit FieldReader(const TableReader& reader) : reader_(reader) {}
  using Fields::number;
  void number(const char* key, double& value, const Range& range) override {
    value = reader_.number(key, value, range);
  }
  void integer(const char* key, int64_t& value, int64_t low, int64_t high) override {
    value = reader_.integer(key, value, low, high);
  }
  void boolean(const char* key, bool& value) override { value = reader_.boolean(key, value); }
  void choice(const char* key, int& value, const std::vector<std::string>& names) override;
  void text(const char* key, std::string& value) override { value = reader_.text(key, value); }
  void texts(const char* key, std::vector<std::string>& value) override;
  void numbers(const char* key, std::vector<double>& value, const Range& range) override {
    if (reader_.has(key)) value = reader_.numbers(key, range);
  }
  void pairs(const char* key, std::vector<std::pair<double, double>>& value,
             const Range& range) override;

 private:
  const TableReader& reader_;
};

// { key = value, … }, every key written out.
class FieldWriter : public Fields {
 public:
  void number(const char* key, double& value, const Range& range) override;
  void number(const char* key, float& value, const Range& range) override;  // shorter digits
  void integer(const char* key, int64_t& value, int64_t low, int64_t high) override;
  void boolean(const char* key, bool& value) override;
  void choice(const char* key, int& value, const std::vector<std::string>& names) override;
  void text(const char* key, std::string& value) override;
  void texts(const char* key, std::vector<std::string>& value) override;
  void numbers(const char* key, std::vector<double>& value, const Range& range) override;
  void pairs(const char* key, std::vector<std::pair<double, double>>& value,
             const Range& range) override;
  std::string toml() const { return text_.empty() ? "{}" : "{ " + text_ + " }"; }

 private:
  void append(const char* key, const std::string& value);
  std::string text_;
};

// The keys alone.
class FieldNames : public Fields {
 public:
  using Fields::number;
  void number(const char* key, double&, const Range&) override { keys.push_back(key); }
  void integer(const char* key, int64_t&, int64_t, int64_t) override { keys.push_back(key); }
  void boolean(const char* key, bool&) override { keys.push_back(key); }
  void choice(const char* key, int&, const std::vector<std::string>&) override {
    keys.push_back(key);
  }
  void text(const char* key, std::string&) override { keys.push_back(key); }
  void texts(const char* key, std::vector<std::string>&) override { keys.push_back(key); }
  void numbers(const char* key, std::vector<double>&, const Range&) override {
    keys.push_back(key);
  }
  void pairs(const char* key, std::vector<std::pair<double, double>>&, const Range&) override {
    keys.push_back(key);
  }
  Keys keys;
};

constexpr double kMostFloat = 3.4028234663852886e38;
const Range kAny{-kMostFloat, kMostFloat};
const Range kNotNegative{0, kMostFloat};
const Range kPositive{0, kMostFloat, true};
const Range kShare{0, 1};                  // 0 … 1
const Range kBelowOne{0, 1, false, true};  // 0 <= x < 1

}  // namespace tanul::recipe
