// SPDX-License-Identifier: Apache-2.0
// The tables of [train] that say how weights start and which of them move how: init = "lsuv", from,
// groups, lookahead.
#include "core/format.h"
#include "recipe/fields.h"
#include "recipe/settings.h"

namespace tanul::recipe {

namespace {

void describe_lsuv(Fields& f, StartOptions& start, LsuvOptions& o) {
  f.integer("batch", start.batch, 2, 1 << 20);
  f.boolean("orthogonal", o.orthogonal);
  f.number("tolerance", o.tolerance, {0, 1, true});
  f.integer("iterations", o.iterations, 1, 1000);
}

void describe_lookahead(Fields& f, Lookahead& o) {
  f.integer("k", o.k, 0, 1'000'000'000);
  f.number("alpha", o.alpha, {0, 1, true});
}

void describe_from(Fields& f, StartOptions& start, std::vector<std::string>& freeze) {
  f.text("file", start.weights);
  f.text("match", start.load.pattern);
  f.boolean("strict", start.load.strict);
  f.texts("freeze", freeze);
}

// weight_decay is left out where the optimizer's counts.
void describe_group(Fields& f, ParameterGroup& group, double* weight_decay) {
  f.text("match", group.pattern);
  f.number("lr_scale", group.lr_scale, kNotNegative);
  if (weight_decay != nullptr) f.number("weight_decay", *weight_decay, kNotNegative);
  f.boolean("frozen", group.frozen);
}

// "lsuv" or { lsuv = { … } }; null for another initialiser.
bool is_lsuv(const TomlNode& node) {
  if (node.kind == TomlNode::Kind::string) return node.text == "lsuv";
  return node.kind == TomlNode::Kind::table && node.entries.size() == 1 &&
         node.entries[0].first.name == "lsuv";
}

void read_groups(const Source& source, const TomlNode& node, std::vector<ParameterGroup>& groups) {
  if (node.kind != TomlNode::Kind::list) {
    fail_at(source, node.where, "[train]: groups must be a list of tables, not {}",
            node.description());
  }
  for (const TomlNode& item : node.items) {
    if (item.kind != TomlNode::Kind::table) {
      fail_at(source, item.where, "[train] groups: a group is a table, not {}", item.description());
    }
    const TableReader r(source, &item, "a group", keys_of("group"));
    ParameterGroup group;
    double weight_decay = 0;
    FieldReader reader(r);
    describe_group(reader, group, &weight_decay);
    if (group.pattern.empty()) {
      fail_at(source, item.where, "a group needs the key \"match\": \"conv1.*\"");
    }
    if (r.has("weight_decay")) group.weight_decay = weight_decay;
    groups.push_back(std::move(group));
  }
}

}  // namespace

void read_more(const Source& source, const TableReader& train, TrainSettings& s) {
  if (const TomlNode* init = train.find("init")) {
    if (is_lsuv(*init)) {
      const TomlNode* options =
          init->kind == TomlNode::Kind::table ? &init->entries[0].second : nullptr;
      const TableReader r(source, options, "init lsuv", keys_of("lsuv"));
      s.start.lsuv = LsuvOptions{};
      FieldReader reader(r);
      describe_lsuv(reader, s.start, *s.start.lsuv);
    } else {
      s.init = read_init(source, *init, "[train] init");
    }
  }
  if (const TomlNode* lookahead = train.find("lookahead")) {
    const TableReader r(source, lookahead, "[train] lookahead", keys_of("lookahead"));
    s.trainer.lookahead.k = 5;
    FieldReader reader(r);
    describe_lookahead(reader, s.trainer.lookahead);
  }
  if (const TomlNode* groups = train.find("groups")) {
    read_groups(source, *groups, s.trainer.groups);
  }
  if (const TomlNode* from = train.find("from")) {
    const TableReader r(source, from, "[train] from", keys_of("from"));
    FieldReader reader(r);
    describe_from(reader, s.start, s.freeze);
    if (s.start.weights.empty() && s.freeze.empty()) {
      fail_at(source, from->where, "[train] from needs the key \"file\"");
    }
  }
}

std::string lsuv_toml(const StartOptions& start) {
  FieldWriter writer;
  StartOptions copy = start;
  describe_lsuv(writer, copy, *copy.lsuv);
  return "{ lsuv = " + writer.toml() + " }";
}

std::string more_toml(const TrainSettings& s) {
  FieldWriter lookahead, from;
  Lookahead copy = s.trainer.lookahead;
  describe_lookahead(lookahead, copy);
  StartOptions start = s.start;
  std::vector<std::string> freeze = s.freeze;
  describe_from(from, start, freeze);
  std::string groups;
  for (ParameterGroup group : s.trainer.groups) {
    FieldWriter writer;
    double weight_decay = group.weight_decay.value_or(0);
    describe_group(writer, group, group.weight_decay ? &weight_decay : nullptr);
    groups += (groups.empty() ? "" : ", ") + writer.toml();
  }
  std::string out = fmt::format("lookahead = {}\ngroups = [{}]\n", lookahead.toml(), groups);
  if (!s.start.weights.empty() || !s.freeze.empty()) {
    out += fmt::format("from = {}\n", from.toml());
  }
  return out;
}

std::vector<KeySet> more_key_sets() {
  FieldNames lsuv, lookahead, group, from;
  StartOptions start;
  LsuvOptions options;
  Lookahead ahead;
  ParameterGroup one;
  std::vector<std::string> freeze;
  double weight_decay = 0;
  describe_lsuv(lsuv, start, options);
  describe_lookahead(lookahead, ahead);
  describe_group(group, one, &weight_decay);
  describe_from(from, start, freeze);
  return {{"lsuv", lsuv.keys},
          {"lookahead", lookahead.keys},
          {"group", group.keys},
          {"from", from.keys}};
}

}  // namespace tanul::recipe
