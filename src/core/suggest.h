// SPDX-License-Identifier: Apache-2.0
// "did you mean …?": the nearest of some valid names. Header-only, for the library and the command
// line tool.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace tanul {

// Insertions, deletions, replacements and swaps of neighbours that lead from a to b (optimal string
// alignment).
inline int edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = static_cast<int>(i);
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

// The candidate that `word` was probably meant to be, or empty where none is near. A candidate that
// begins with the word, or the word with it, counts as near ("conv" for "conv2d").
inline std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // longer words are no typing mistakes
  if (word.empty() || word.size() > kLongest) return {};
  std::string best;
  int best_distance = 1 + std::max(1, static_cast<int>(word.size()) / 3);
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || candidate.size() > kLongest) continue;
    int distance = edit_distance(word, candidate);
    const size_t common = std::min(word.size(), candidate.size());
    if (common >= 3 && word.compare(0, common, candidate, 0, common) == 0) {
      distance = std::min(distance, 1);
    }
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

// `; did you mean "kernel"?`, or `; possible: a, b` where nothing is near.
inline std::string suggestion(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  if (!near.empty()) return "; did you mean \"" + near + "\"?";
  std::string list;
  for (const std::string& candidate : candidates) list += (list.empty() ? "" : ", ") + candidate;
  return list.empty() ? list : "; possible: " + list;
}

}  // namespace tanul
