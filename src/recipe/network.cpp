// SPDX-License-Identifier: Apache-2.0
// Blocks are expanded while the network is built, because a shortcut may depend on shapes. What a
// file can make is bounded: layers, entries looked at, and blocks inside blocks.
#include "recipe/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/format.h"
#include "core/suggest.h"
#include "recipe/layers.h"
#include "recipe/reader.h"

namespace tanul::recipe {

namespace {

constexpr int64_t kMostLayers = 10'000;
constexpr int64_t kMostEntries = 20'000;  // with those of blocks that turn out empty
constexpr int64_t kMostCopiedNodes = 100'000;
constexpr size_t kMostNesting = 16;
constexpr size_t kMostNameBytes = 128;

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kMostNameBytes &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
         });
}

int64_t node_count(const TomlNode& node) {
  int64_t count = 1;
  for (const TomlNode& item : node.items) count += node_count(item);
  for (const auto& [key, value] : node.entries) count += node_count(value);
  return count;
}

void check_name(const Source& source, const TomlNode& node, const std::string& what) {
  if (node.kind != TomlNode::Kind::string) {
    fail_at(source, node.where, "{} must be a string, not {}", what, node.description());
  }
  if (!is_name(node.text)) {
    fail_at(source, node.where, "{} must be made of letters, digits, _ - and ., got {}", what,
            quoted(node.text));
  }
}

// The output of a layer, under its full name.
struct Flow {
  Var var;
  std::string name;
};

// The names that `from` can reach: one scope for the network, one for each use of a block.
struct Scope {
  std::string prefix;  // "basic1."
  Flow input;
  std::map<std::string, Flow> locals;
  std::map<std::string, int> counters;
  std::set<std::string> reserved;  // names that the file gives
};

// One entry of a list of layers.
struct Entry {
  std::string kind;  // of a layer, or a block's name
  const TomlNode* options = nullptr;
  const TomlNode* name = nullptr;
  const TomlNode* from = nullptr;
  int64_t repeat = 1;
  Where where;
};

class Expander {
 public:
  Expander(const Source& source, ModelBuilder& builder, const TomlNode* blocks)
      : source_(source), builder_(builder) {
    kinds_ = layer_kinds();
    if (blocks != nullptr) read_blocks(*blocks);
  }

  Flow expand_network(const TomlNode& layers, const Flow& input) {
    Scope scope;
    scope.input = input;
    reserve_names(layers, scope);
    return expand_list(layers, "layers", scope, input);
  }

  std::vector<std::string> lines;

 private:
  void read_blocks(const TomlNode& blocks) {
    if (blocks.kind != TomlNode::Kind::table) {
      fail_at(source_, blocks.where, "blocks must be a table, not {}", blocks.description());
    }
    for (const auto& [key, block] : blocks.entries) {
      const std::string what = fmt::format("block {}", quoted(key.name));
      const TableReader reader(source_, &block, what, keys_of("block"));
      if (!is_name(key.name) || key.name.find('.') != std::string::npos) {
        fail_at(source_, key.where, "{}: a block's name is made of letters, digits, _ and -", what);
      }
      const Keys& taken = keys_of("layer");
      if (std::find(kinds_.begin(), kinds_.end(), key.name) != kinds_.end() ||
          std::find(taken.begin(), taken.end(), key.name) != taken.end()) {
        fail_at(source_, key.where, "{}: the name means something else already", what);
      }
      if (reader.has("layers") == reader.has("main")) {
        fail_at(source_, key.where, "{} needs either layers (a sequence) or main (a residual sum)",
                what);
      }
      for (const char* only : {"shortcut", "shortcut_when", "then"}) {
        if (reader.has(only) && !reader.has("main")) {
          fail_at(source_, reader.where(only), "{}: {} belongs to main, not to layers", what, only);
        }
      }
      if (const TomlNode* params = reader.find("params");
          params != nullptr && params->kind != TomlNode::Kind::table) {
        fail_at(source_, params->where, "{}: params must be a table, not {}", what,
                params->description());
      }
      blocks_[key.name] = &block;
    }
    for (const auto& [name, block] : blocks_) kinds_.push_back(name);
  }

  // Names given in the file go before automatic ones, wherever they stand.
  static void reserve_names(const TomlNode& list, Scope& scope) {
    for (const TomlNode& item : list.items) {
      const TomlNode* name = item.find("name");
      if (name != nullptr && name->kind == TomlNode::Kind::string) {
        scope.reserved.insert(name->text);
      }
    }
  }

  Entry read_entry(const TomlNode& node) const {
    Entry entry;
    entry.where = node.where;
    if (node.kind == TomlNode::Kind::string) {
      entry.kind = node.text;
    } else if (node.kind == TomlNode::Kind::table) {
      Keys possible = kinds_;
      for (const std::string& key : keys_of("layer")) possible.push_back(key);
      for (const auto& [key, value] : node.entries) {
        if (key.name == "name") {
          entry.name = &value;
        } else if (key.name == "from") {
          entry.from = &value;
        } else if (key.name == "repeat") {
          const Keys& keys = keys_of("layer");
          TomlNode just_repeat;
          just_repeat.where = node.where;
          just_repeat.entries.emplace_back(key, value);
          entry.repeat = TableReader(source_, &just_repeat, "a layer", keys)
                             .required_integer("repeat", 1, kMostLayers);
        } else if (std::find(kinds_.begin(), kinds_.end(), key.name) == kinds_.end()) {
          fail_at(source_, key.where, "there is no layer or block \"{}\"{}", key.name,
                  suggestion(key.name, possible));
        } else if (!entry.kind.empty()) {
          fail_at(source_, key.where,
                  "one entry of layers names both {} and {}; each stands in braces of its own",
                  entry.kind, key.name);
        } else {
          entry.kind = key.name;
          entry.options = &value;
          entry.where = key.where;
        }
      }
      if (entry.kind.empty()) {
        fail_at(source_, node.where, "this entry of layers names no layer and no block");
      }
    } else {
      fail_at(source_, node.where,
              "a layer is a name (\"relu\") or a table ({{ conv2d = {{ … }} }}), not {}",
              node.description());
    }
    if (std::find(kinds_.begin(), kinds_.end(), entry.kind) == kinds_.end()) {
      fail_at(source_, entry.where, "there is no layer or block \"{}\"{}", entry.kind,
              suggestion(entry.kind, kinds_));
    }
    return entry;
  }

  // The next name of the entry within its scope, without the prefix.
  std::string take_name(const Entry& entry, Scope& scope) {
    const bool is_block = blocks_.count(entry.kind) != 0;
    const std::string what = fmt::format("{}: name", entry.kind);
    if (entry.name != nullptr) check_name(source_, *entry.name, what);
    std::string name;
    if (entry.name != nullptr && entry.repeat == 1) {
      name = entry.name->text;
      if (name == "input") {
        fail_at(source_, entry.name->where, "{}: \"input\" means the samples", what);
      }
    } else {
      const std::string stem = entry.name != nullptr ? entry.name->text
                               : is_block            ? entry.kind
                                                     : name_stem(entry.kind);
      do {
        name = stem + std::to_string(++scope.counters[stem]);
      } while (scope.reserved.count(name) != 0 || scope.locals.count(name) != 0);
    }
    if (scope.locals.count(name) != 0 || !names_.insert(scope.prefix + name).second) {
      fail_at(source_, entry.name != nullptr ? entry.name->where : entry.where,
              "{} \"{}{}\": there is a layer of that name already; names are unique", entry.kind,
              scope.prefix, name);
    }
    return name;
  }

  Flow find_layer(const TomlNode& node, const Scope& scope, const std::string& what,
                  const char* key = "from") const {
    if (node.kind != TomlNode::Kind::string) {
      fail_at(source_, node.where, "{}: {} must be a layer's name, not {}", what, key,
              node.description());
    }
    if (node.text == "input") return scope.input;
    const auto found = scope.locals.find(node.text);
    if (found != scope.locals.end()) return found->second;
    std::vector<std::string> possible{"input"};
    for (const auto& [name, flow] : scope.locals) possible.push_back(name);
    const std::string near = nearest(node.text, possible);
    fail_at(source_, node.where, "{}: there is no layer {} before it{}", what, quoted(node.text),
            near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }

  std::vector<Flow> find_inputs(const Entry& entry, const std::string& what, const Scope& scope,
                                const Flow& previous) const {
    const size_t least = least_inputs(entry.kind);
    const size_t most = most_inputs(entry.kind);
    if (most == 1) {
      return {entry.from == nullptr ? previous : find_layer(*entry.from, scope, what)};
    }
    if (entry.from == nullptr || entry.from->kind != TomlNode::Kind::list ||
        entry.from->items.size() < least || entry.from->items.size() > most) {
      fail_at(source_, entry.from == nullptr ? entry.where : entry.from->where,
              "{} needs from = [\"…\", \"…\"], the names of {} layers", what,
              least == most ? "two" : "two or more");
    }
    std::vector<Flow> flows;
    for (const TomlNode& item : entry.from->items) flows.push_back(find_layer(item, scope, what));
    return flows;
  }

  // Makes one layer and writes its line.
  Flow make(const std::string& kind, const TomlNode* options, const Where& where,
            const std::string& name, const std::vector<Flow>& inputs) {
    if (static_cast<int64_t>(lines.size()) >= kMostLayers) {
      fail_at(source_, where, "the network has more than {} layers", kMostLayers);
    }
    std::vector<Var> vars;
    for (const Flow& flow : inputs) vars.push_back(flow.var);
    MadeLayer made;
    try {
      made = make_layer(builder_, source_, kind, options, where, name, vars);
    } catch (const Error& e) {
      if (e.code() == Code::format) throw;  // has its place
      throw Error(e.code(), source_.place(where) + ": " + e.what());
    }
    std::string line = fmt::format("{{ {} = {}, name = {}", kind, made.options, quoted(name));
    if (inputs.size() > 1) {
      std::string list;
      for (const Flow& flow : inputs) list += (list.empty() ? "" : ", ") + quoted(flow.name);
      line += fmt::format(", from = [{}]", list);
    } else if (inputs[0].name != last_) {
      line += fmt::format(", from = {}", quoted(inputs[0].name));
    }
    lines.push_back(line + " }");
    last_ = name;
    return {made.out, name};
  }

  Flow expand_list(const TomlNode& list, const std::string& what, Scope& scope, Flow flow) {
    if (list.kind != TomlNode::Kind::list) {
      fail_at(source_, list.where, "{} must be a list of layers, not {}", what, list.description());
    }
    for (const TomlNode& item : list.items) {
      Entry entry = read_entry(item);
      for (int64_t i = 0; i < entry.repeat; ++i) {
        // in a chain of repeats only the first reads `from`
        if (i > 0 && most_inputs(entry.kind) == 1) entry.from = nullptr;
        if (++entries_ > kMostEntries) {
          fail_at(source_, entry.where, "the blocks unfold to more than {} entries", kMostEntries);
        }
        flow = expand_entry(entry, scope, flow);
      }
    }
    return flow;
  }

  Flow expand_entry(const Entry& entry, Scope& scope, const Flow& previous) {
    const std::string local = take_name(entry, scope);
    const std::string name = scope.prefix + local;
    const std::string what = fmt::format("{} \"{}\"", entry.kind, name);
    const std::vector<Flow> inputs = find_inputs(entry, what, scope, previous);
    Flow out;
    if (blocks_.count(entry.kind) != 0) {
      out = expand_block(entry, name, local, scope, inputs[0]);
    } else {
      TomlNode renamed;  // `share` names a layer as `from` does
      const TomlNode* options = entry.options;
      const TomlNode* share = options == nullptr ? nullptr : options->find("share");
      if (share != nullptr && share->kind == TomlNode::Kind::string) {
        renamed = *options;
        for (auto& [key, value] : renamed.entries) {
          if (key.name == "share") value.text = find_layer(*share, scope, what, "share").name;
        }
        options = &renamed;
      }
      out = make(entry.kind, options, entry.where, name, inputs);
    }
    scope.locals[local] = out;
    return out;
  }

  // The block's table with the parameters of this use put in.
  TomlNode instantiate(const Entry& entry) {
    const TomlNode& block = *blocks_.at(entry.kind);
    const std::string what = fmt::format("block \"{}\"", entry.kind);
    std::map<std::string, TomlNode> values;
    std::vector<std::string> names;
    if (const TomlNode* params = block.find("params")) {
      for (const auto& [key, value] : params->entries) {
        values[key.name] = value;
        names.push_back(key.name);
      }
    }
    if (entry.options != nullptr) {
      if (entry.options->kind != TomlNode::Kind::table) {
        fail_at(source_, entry.options->where, "{} takes a table of its parameters, not {}", what,
                entry.options->description());
      }
      for (const auto& [key, value] : entry.options->entries) {
        if (values.count(key.name) == 0) {
          fail_at(source_, key.where, "{} has no parameter \"{}\"{}", what, key.name,
                  names.empty() ? "; it takes none" : suggestion(key.name, names));
        }
        values[key.name] = value;
      }
    }
    for (const std::string& name : names) {
      const TomlNode& value = values[name];
      if (value.kind == TomlNode::Kind::string && value.text == "required") {
        fail_at(source_, entry.where, "{} needs its parameter \"{}\"", what, name);
      }
    }
    TomlNode out = block;
    for (auto& [key, value] : out.entries) {
      if (key.name != "params") substitute(value, values, names, what);
    }
    return out;
  }

  void substitute(TomlNode& node, const std::map<std::string, TomlNode>& values,
                  const std::vector<std::string>& names, const std::string& what) {
    if (node.kind == TomlNode::Kind::string && !node.text.empty() && node.text[0] == '$') {
      const std::string name = node.text.substr(1);
      const auto found = values.find(name);
      if (found == values.end()) {
        fail_at(source_, node.where, "{} has no parameter \"{}\"{}", what, name,
                suggestion(name, names));
      }
      // parameters that hold parameters twice would double with every block they are handed to
      copied_nodes_ += node_count(found->second);
      if (copied_nodes_ > kMostCopiedNodes) {
        fail_at(source_, node.where, "{}: the parameters unfold to more than {} values", what,
                kMostCopiedNodes);
      }
      const TomlNode value = found->second;
      node = value;
      return;
    }
    for (TomlNode& item : node.items) substitute(item, values, names, what);
    for (auto& [key, value] : node.entries) substitute(value, values, names, what);
  }

  Flow expand_block(const Entry& entry, const std::string& name, const std::string& local,
                    Scope& outer, const Flow& x) {
    if (std::find(open_.begin(), open_.end(), entry.kind) != open_.end()) {
      std::string chain;
      for (const std::string& block : open_) chain += block + " -> ";
      fail_at(source_, entry.where, "block \"{}\" uses itself: {}{}", entry.kind, chain,
              entry.kind);
    }
    if (open_.size() >= kMostNesting) {
      fail_at(source_, entry.where, "blocks are nested more than {} deep", kMostNesting);
    }
    const TomlNode block = instantiate(entry);
    open_.push_back(entry.kind);
    Scope scope;
    scope.prefix = name + ".";
    scope.input = x;
    for (const char* key : {"layers", "main", "shortcut", "then"}) {
      if (const TomlNode* list = block.find(key)) reserve_names(*list, scope);
    }
    const std::string what = fmt::format("block \"{}\": ", entry.kind);
    Flow out = x;
    if (const TomlNode* layers = block.find("layers")) {
      out = expand_list(*layers, what + "layers", scope, x);
    } else {
      out = expand_residual(entry, block, what, scope, x);
    }
    open_.pop_back();
    for (const auto& [inner, flow] : scope.locals) outer.locals[local + "." + inner] = flow;
    return out;
  }

  // then(main(x) + shortcut(x))
  Flow expand_residual(const Entry& entry, const TomlNode& block, const std::string& what,
                       Scope& scope, const Flow& x) {
    const TableReader reader(source_, &block, fmt::format("block \"{}\"", entry.kind),
                             keys_of("block"));
    const std::string when = reader.text("shortcut_when", "always");
    if (when != "always" && when != "shapes_differ") {
      fail_at(source_, reader.where("shortcut_when"),
              "{}shortcut_when must be \"always\" or \"shapes_differ\", got {}", what,
              quoted(when));
    }
    const Flow main = expand_list(*block.find("main"), what + "main", scope, x);
    Flow shortcut = x;
    const bool is_wanted = when == "always" || builder_.shape(main.var) != builder_.shape(x.var);
    if (const TomlNode* list = block.find("shortcut"); list != nullptr && is_wanted) {
      shortcut = expand_list(*list, what + "shortcut", scope, x);
    }
    Entry add;
    add.kind = "add";
    add.where = entry.where;
    const std::string local = take_name(add, scope);
    // A layer `add` may repeat axes; a residual whose shapes differ is a mistake.
    if (builder_.shape(main.var) != builder_.shape(shortcut.var)) {
      fail_at(
          source_, entry.where, "add \"{}\": main and shortcut must have one shape, got {} and {}",
          scope.prefix + local, builder_.shape(main.var).str(), builder_.shape(shortcut.var).str());
    }
    Flow out = make("add", nullptr, entry.where, scope.prefix + local, {main, shortcut});
    scope.locals[local] = out;
    if (const TomlNode* then = block.find("then")) {
      out = expand_list(*then, what + "then", scope, out);
    }
    return out;
  }

  const Source& source_;
  ModelBuilder& builder_;
  Keys kinds_;  // layers and blocks
  std::map<std::string, const TomlNode*> blocks_;
  std::set<std::string> names_;
  std::vector<std::string> open_;  // blocks being expanded, outermost first
  std::string last_ = "input";     // the layer of the last line
  int64_t entries_ = 0;
  int64_t copied_nodes_ = 0;
};

Shape read_input(const Source& source, const TomlNode& root) {
  const TomlNode* node = root.find("input");
  const auto refuse = [&](const TomlNode& at) {
    fail_at(
        source, at.where,
        "input must be a list of 1 to 4 whole numbers of 1 or more, [C, H, W] for images, not {}",
        at.description());
  };
  if (node == nullptr) {
    fail_at(source, {1, 1, -1}, "the model file needs the key \"input\": [C, H, W] of one sample");
  }
  if (node->kind != TomlNode::Kind::list || node->items.empty() || node->items.size() > 4) {
    refuse(*node);
  }
  std::vector<int64_t> extents;
  for (const TomlNode& item : node->items) {
    if (item.kind != TomlNode::Kind::integer || item.integer < 1 || item.integer > kMostSize) {
      refuse(item);
    }
    extents.push_back(item.integer);
  }
  return Shape(extents);
}

// A model file's own name, or the file's.
std::string read_name(const Source& source, const TomlNode& root) {
  if (const TomlNode* node = root.find("name")) {
    check_name(source, *node, "name");
    return node->text;
  }
  std::string stem = source.file.substr(source.file.find_last_of('/') + 1);
  stem = stem.substr(0, stem.rfind('.'));
  return is_name(stem) ? stem : "model";
}

}  // namespace

Network build_network(const Source& source, const TomlNode& root, const Init& default_init) {
  Network network;
  network.name = read_name(source, root);
  network.input = read_input(source, root);
  const TomlNode* layers = root.find("layers");
  if (layers == nullptr) fail_at(source, {1, 1, -1}, "the model file needs the key \"layers\"");
  const TomlNode* loss = root.find("loss");
  if (loss == nullptr) {
    fail_at(source, {1, 1, -1}, "the model file needs the key \"loss\"; possible: {}",
            fmt::join(loss_kinds(), ", "));
  }

  ModelBuilder builder(network.name);
  builder.default_init(default_init);
  Expander expander(source, builder, root.find("blocks"));
  const Flow input{builder.input(network.input), "input"};
  const Flow out = expander.expand_network(*layers, input);
  if (expander.lines.empty()) fail_at(source, layers->where, "layers is empty");
  network.layer_lines = std::move(expander.lines);
  network.loss_line = make_loss(builder, source, *loss, out.var);
  network.model = builder.build();
  return network;
}

}  // namespace tanul::recipe
