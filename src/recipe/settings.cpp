// SPDX-License-Identifier: Apache-2.0
#include "recipe/settings.h"

#include <algorithm>

#include "core/format.h"
#include "core/suggest.h"
#include "recipe/fields.h"

namespace tanul::recipe {

namespace {

constexpr int64_t kMostInt = std::numeric_limits<int64_t>::max();
float as_float(double value) { return static_cast<float>(value); }

template <typename T>
std::string listed(const std::vector<T>& values) {
  std::string out;
  for (const T& value : values) out += (out.empty() ? "" : ", ") + fmt::format("{}", value);
  return "[" + out + "]";
}

// 0 stands for the gain of the activation behind the layer.
double read_gain(const TableReader& reader, double otherwise) {
  const TomlNode* node = reader.find("gain");
  if (node != nullptr && node->kind == TomlNode::Kind::string && node->text == "following") {
    return 0;
  }
  return reader.number("gain", otherwise, kPositive);
}

std::string gain_toml(double gain) { return gain == 0 ? "\"following\"" : fmt::format("{}", gain); }

Fan read_fan(const TableReader& reader) {
  const std::string fan = reader.text("fan", "in");
  if (fan != "in" && fan != "out") {
    fail_at(reader.source(), reader.where("fan"), "{}: fan must be \"in\" or \"out\", got {}",
            reader.what(), quoted(fan));
  }
  return fan == "in" ? Fan::in : Fan::out;
}

Memory read_memory(const TableReader& reader) {
  const std::string memory = reader.text("memory", "normal");
  if (memory != "normal" && memory != "low") {
    fail_at(reader.source(), reader.where("memory"),
            "{}: memory must be \"normal\" or \"low\", got {}", reader.what(), quoted(memory));
  }
  return memory == "low" ? Memory::low : Memory::normal;
}

Precision read_precision(const TableReader& reader) {
  std::vector<std::string> names;
  for (const Precision precision : kPrecisions) names.emplace_back(precision_name(precision));
  const std::string precision = reader.text("precision", names.front());
  const auto found = std::find(names.begin(), names.end(), precision);
  if (found == names.end()) {
    fail_at(reader.source(), reader.where("precision"),
            "{}: precision must be \"fp32\", \"tf32\", \"bf16\" or \"fp16\", got {}{}",
            reader.what(), quoted(precision),
            nearest(precision, names).empty() ? "" : suggestion(precision, names));
  }
  return kPrecisions[found - names.begin()];
}

std::optional<bool> read_tune(const TableReader& reader) {
  const TomlNode* node = reader.find("tune");
  if (node == nullptr || (node->kind == TomlNode::Kind::string && node->text == "auto")) return {};
  if (node->kind == TomlNode::Kind::string) {
    fail_at(reader.source(), node->where, "{}: tune must be \"auto\", true or false, got {}",
            reader.what(), quoted(node->text));
  }
  return reader.boolean("tune", false);
}

double need_number(const TableReader& reader, const std::string& key, const Range& range) {
  if (!reader.has(key)) {
    fail_at(reader.source(), reader.where(key), "{} needs the key \"{}\"", reader.what(), key);
  }
  return reader.number(key, 0, range);
}

}  // namespace

std::string bool_toml(bool value) { return value ? "true" : "false"; }
std::string list_toml(const std::vector<int64_t>& values) { return listed(values); }

Init read_init(const Source& source, const TomlNode& node, const std::string& what) {
  const Choice choice = read_choice(source, node, what, init_kinds());
  const TableReader reader(source, choice.options, fmt::format("{} {}", what, choice.kind),
                           keys_of(choice.kind));
  const std::string& kind = choice.kind;
  // a kind without usable defaults needs its table, and the error the place of the bare name
  const auto need = [&](const char* key, const Range& range) {
    if (choice.options == nullptr) {
      fail_at(source, choice.where, "{} {} needs the key \"{}\"", what, kind, key);
    }
    return need_number(reader, key, range);
  };
  if (kind == "constant") return Init::constant(need("value", kAny));
  if (kind == "uniform") {
    const double low = need("low", kAny);
    const double high = need("high", kAny);
    if (low > high) {
      fail_at(source, reader.where("low"), "{}: low must be at most high, got {} and {}",
              reader.what(), low, high);
    }
    return Init::uniform(low, high);
  }
  if (kind == "normal" || kind == "truncated_normal") {
    const double mean = reader.number("mean", 0, kAny);
    const double deviation = need("std", kNotNegative);
    return kind == "normal" ? Init::normal(mean, deviation)
                            : Init::truncated_normal(mean, deviation);
  }
  if (kind == "glorot_uniform") return Init::glorot_uniform(read_gain(reader, 1));
  if (kind == "glorot_normal") return Init::glorot_normal(read_gain(reader, 1));
  if (kind == "he_uniform") return Init::he_uniform(read_fan(reader), read_gain(reader, 0));
  if (kind == "he_normal") return Init::he_normal(read_fan(reader), read_gain(reader, 0));
  if (kind == "lecun_normal") return Init::lecun_normal();
  if (kind == "lecun_uniform") return Init::lecun_uniform();
  if (kind == "torch_default") return Init::torch_default();
  if (kind == "orthogonal") return Init::orthogonal(read_gain(reader, 1));
  if (kind == "dirac") return Init::dirac(reader.integer("groups", 1, 1, kMostSize));
  if (kind == "whitening") return Init::whitening();
  return {};
}

std::string init_toml(const Init& init) {
  const char* fan = init.fan == Fan::in ? "in" : "out";
  switch (init.kind) {
    case Init::Kind::automatic: return "\"automatic\"";
    case Init::Kind::constant: return fmt::format("{{ constant = {{ value = {} }} }}", init.a);
    case Init::Kind::uniform:
      return fmt::format("{{ uniform = {{ low = {}, high = {} }} }}", init.a, init.b);
    case Init::Kind::normal:
      return fmt::format("{{ normal = {{ mean = {}, std = {} }} }}", init.a, init.b);
    case Init::Kind::truncated_normal:
      return fmt::format("{{ truncated_normal = {{ mean = {}, std = {} }} }}", init.a, init.b);
    case Init::Kind::glorot_uniform:
      return fmt::format("{{ glorot_uniform = {{ gain = {} }} }}", gain_toml(init.gain));
    case Init::Kind::glorot_normal:
      return fmt::format("{{ glorot_normal = {{ gain = {} }} }}", gain_toml(init.gain));
    case Init::Kind::he_uniform:
      return fmt::format("{{ he_uniform = {{ fan = \"{}\", gain = {} }} }}", fan,
                         gain_toml(init.gain));
    case Init::Kind::he_normal:
      return fmt::format("{{ he_normal = {{ fan = \"{}\", gain = {} }} }}", fan,
                         gain_toml(init.gain));
    case Init::Kind::lecun_normal: return "\"lecun_normal\"";
    case Init::Kind::lecun_uniform: return "\"lecun_uniform\"";
    case Init::Kind::torch_default: return "\"torch_default\"";
    case Init::Kind::orthogonal:
      return fmt::format("{{ orthogonal = {{ gain = {} }} }}", gain_toml(init.gain));
    case Init::Kind::dirac: return fmt::format("{{ dirac = {{ groups = {} }} }}", init.a);
    case Init::Kind::whitening: return "\"whitening\"";
  }
  return {};
}

TrainSettings read_train(const Source& source, const TomlNode* table) {
  const TableReader r(source, table, "[train]", keys_of("train"));
  TrainSettings s;
  s.fit.epochs = r.integer("epochs", s.fit.epochs, 1, 1'000'000);
  s.fit.patience = r.integer("patience", s.fit.patience, 0, 1'000'000);
  s.fit.keep_best = r.boolean("keep_best", s.fit.keep_best);
  s.trainer.epochs = static_cast<double>(s.fit.epochs);
  s.trainer.batch = r.integer("batch", s.trainer.batch, 1, 1 << 20);
  s.trainer.optimizer = read_optimizer(source, r.find("optimizer"));
  s.trainer.schedule = read_schedule(source, r.find("schedule"));
  if (s.trainer.schedule.warmup >= s.trainer.epochs && s.trainer.schedule.warmup > 0) {
    fail_at(source, r.where("schedule"),
            "[train] schedule: a warm-up of {} epochs does not end within the {} epochs of the run",
            s.trainer.schedule.warmup, s.fit.epochs);
  }
  s.trainer.clip_value = r.number("clip_value", s.trainer.clip_value, kNotNegative);
  s.trainer.clip_norm = r.number("clip_norm", s.trainer.clip_norm, kNotNegative);
  s.trainer.decay_norms_and_biases =
      r.boolean("decay_norms_and_biases", s.trainer.decay_norms_and_biases);
  s.trainer.decay_biases = r.boolean("decay_biases", s.trainer.decay_biases);
  s.trainer.l1 = r.number("l1", s.trainer.l1, kNotNegative);
  s.trainer.l2 = r.number("l2", s.trainer.l2, kNotNegative);
  s.trainer.ema_decay = r.number("ema_decay", s.trainer.ema_decay, kBelowOne);
  s.trainer.accumulate = r.integer("accumulate", s.trainer.accumulate, 1, 1 << 20);
  read_more(source, r, s);
  s.trainer.drop_last = r.boolean("drop_last", s.trainer.drop_last);
  s.trainer.shuffle = r.boolean("shuffle", s.trainer.shuffle);
  s.trainer.seed =
      static_cast<uint64_t>(r.integer("seed", static_cast<int64_t>(s.trainer.seed), 0, kMostInt));
  s.trainer.device = r.text("device", s.trainer.device);
  s.trainer.threads = static_cast<int>(r.integer("threads", s.trainer.threads, 0, 4096));
  s.trainer.precise_convolutions =
      r.boolean("precise_convolutions", s.trainer.precise_convolutions);
  s.trainer.precision = read_precision(r);
  s.trainer.deterministic = r.boolean("deterministic", s.trainer.deterministic);
  s.trainer.memory = read_memory(r);
  s.trainer.tune = read_tune(r);
  s.trainer.data_on_device = r.boolean("data_on_device", s.trainer.data_on_device);
  if (const TomlNode* force = r.find("force")) {
    if (force->kind != TomlNode::Kind::table) {
      fail_at(source, force->where,
              "[train]: force must be a table of step kinds and implementations, not {}",
              force->description());
    }
    for (const auto& [key, value] : force->entries) {
      if (value.kind != TomlNode::Kind::string) {
        fail_at(source, value.where, "[train] force: {} must be an implementation's name, not {}",
                key.name, value.description());
      }
      s.trainer.force.emplace_back(key.name, value.text);
    }
  }
  return s;
}

std::string train_toml(const TrainSettings& s) {
  const TrainerOptions& t = s.trainer;
  std::string out = "[train]\n";
  const auto line = [&](const char* key, const std::string& value) {
    out += fmt::format("{} = {}\n", key, value);
  };
  line("epochs", fmt::format("{}", s.fit.epochs));
  line("batch", fmt::format("{}", t.batch));
  line("optimizer", optimizer_toml(t.optimizer));
  line("schedule", schedule_toml(t.schedule));
  line("init", s.start.lsuv ? lsuv_toml(s.start) : init_toml(s.init));
  line("seed", fmt::format("{}", t.seed));
  line("clip_value", fmt::format("{}", t.clip_value));
  line("clip_norm", fmt::format("{}", t.clip_norm));
  line("decay_norms_and_biases", bool_toml(t.decay_norms_and_biases));
  line("decay_biases", bool_toml(t.decay_biases));
  line("l1", fmt::format("{}", t.l1));
  line("l2", fmt::format("{}", t.l2));
  line("ema_decay", fmt::format("{}", t.ema_decay));
  line("accumulate", fmt::format("{}", t.accumulate));
  out += more_toml(s);
  line("drop_last", bool_toml(t.drop_last));
  line("shuffle", bool_toml(t.shuffle));
  line("patience", fmt::format("{}", s.fit.patience));
  line("keep_best", bool_toml(s.fit.keep_best));
  line("device", quoted(t.device));
  line("threads", fmt::format("{}", t.threads));
  line("precise_convolutions", bool_toml(t.precise_convolutions));
  line("precision", quoted(precision_name(t.precision)));
  line("deterministic", bool_toml(t.deterministic));
  line("memory", quoted(t.memory == Memory::low ? "low" : "normal"));
  line("tune", t.tune ? bool_toml(*t.tune) : quoted("auto"));
  line("data_on_device", bool_toml(t.data_on_device));
  std::string force;
  for (const auto& [kind, implementation] : t.force) {
    force +=
        fmt::format("{}{} = {}", force.empty() ? "" : ", ", quoted(kind), quoted(implementation));
  }
  line("force", force.empty() ? "{}" : "{ " + force + " }");
  return out;
}

namespace {

Augmentation read_augmentation(const Source& source, const TomlNode* node, const Shape& input,
                               bool targets_are_samples) {
  const TableReader r(source, node, "[data] augment", keys_of("augment"));
  Augmentation a;
  // Of a network of vectors, the data set says what its images are.
  const int64_t shorter = input.rank() == 3 ? std::min(input[1], input[2]) : kMostSize;
  a.crop = r.integer("crop", a.crop, 0, shorter - 1);
  a.flip = r.boolean("flip", a.flip);
  if (!a.is_on()) return a;
  if (input.rank() != 3 && input.rank() != 1) {
    fail_at(source, node->where, "[data]: augment is for images [C, H, W], the input is {}",
            input.str());
  }
  if (targets_are_samples) {
    fail_at(
        source, node->where,
        "[data]: augment would move the samples but not the targets, which are the samples too");
  }
  return a;
}

}  // namespace

DataSettings read_data(const Source& source, const TomlNode* table, const Shape& input) {
  const TableReader r(source, table, "[data]", keys_of("data"));
  DataSettings s;
  s.data.path = r.text("path", s.data.path);
  s.data.validation = r.number("validation", s.data.validation, kBelowOne);
  s.data.test = r.number("test", s.data.test, kBelowOne);
  s.data.stratified = r.boolean("stratified", s.data.stratified);
  const std::string targets = r.text("targets", "labels");
  if (targets != "labels" && targets != "samples") {
    fail_at(source, r.where("targets"),
            "[data]: targets must be \"labels\" or \"samples\", got {}{}", quoted(targets),
            nearest(targets, {"labels", "samples"}).empty()
                ? ""
                : suggestion(targets, {"labels", "samples"}));
  }
  s.data.targets_are_samples = targets == "samples";
  if (s.data.validation + s.data.test >= 1) {
    fail_at(source, r.where("test"),
            "[data]: validation and test together must leave something to train on, got {} and {}",
            s.data.validation, s.data.test);
  }
  s.augmentation = read_augmentation(source, r.find("augment"), input, s.data.targets_are_samples);
  const auto channels = static_cast<size_t>(input.rank() == 1 ? 1 : input[0]);
  const TomlNode* normalize = r.find("normalize");
  if (normalize == nullptr ||
      (normalize->kind == TomlNode::Kind::string && normalize->text == "fit")) {
    return s;
  }
  s.data.normalize_fit = false;
  if (normalize->kind == TomlNode::Kind::string) {
    if (normalize->text != "none") {
      fail_at(
          source, normalize->where,
          "[data]: normalize must be \"fit\", \"none\" or {{ mean = […], std = […] }}, got {}{}",
          quoted(normalize->text),
          nearest(normalize->text, {"fit", "none"}).empty()
              ? ""
              : suggestion(normalize->text, {"fit", "none"}));
    }
    s.normalization =
        Normalization{std::vector<float>(channels, 0.f), std::vector<float>(channels, 1.f)};
    return s;
  }
  const TableReader n(source, normalize, "[data] normalize", keys_of("normalize"));
  Normalization normalization;
  for (double value : n.numbers("mean", kAny)) normalization.mean.push_back(as_float(value));
  for (double value : n.numbers("std", kPositive)) {
    normalization.deviation.push_back(as_float(value));
  }
  for (const auto& [key, count] : {std::pair("mean", normalization.mean.size()),
                                   std::pair("std", normalization.deviation.size())}) {
    if (count == channels) continue;
    fail_at(source, n.where(key), "[data] normalize: {} needs one number per channel ({}), got {}",
            key, channels, count);
  }
  s.normalization = normalization;
  return s;
}

std::string data_toml(const DataSettings& s) {
  std::string normalize = "\"fit\"";
  if (s.normalization) {
    const auto& n = *s.normalization;
    const bool is_identity =
        std::all_of(n.mean.begin(), n.mean.end(), [](float v) { return v == 0; }) &&
        std::all_of(n.deviation.begin(), n.deviation.end(), [](float v) { return v == 1; });
    normalize = is_identity
                    ? "\"none\""
                    : fmt::format("{{ mean = {}, std = {} }}", listed(n.mean), listed(n.deviation));
  }
  return fmt::format(
      "[data]\npath = {}\nnormalize = {}\ntargets = {}\nvalidation = {}\ntest = {}\n"
      "stratified = {}\naugment = {{ crop = {}, flip = {} }}\n",
      quoted(s.data.path), normalize, quoted(s.data.targets_are_samples ? "samples" : "labels"),
      s.data.validation, s.data.test, bool_toml(s.data.stratified), s.augmentation.crop,
      bool_toml(s.augmentation.flip));
}

}  // namespace tanul::recipe
