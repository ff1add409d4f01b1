// SPDX-License-Identifier: MIT
/// The tables of bench/results, and everything that was timed as JSON.
#pragma once

#include <cstdio>
#include <ctime>
#include <fstream>

#include "timing.hpp"

namespace tern_bench {

struct row_key {
  std::string section, row;
};

/// A row of quotients of medians in a section: the least of some rows over another one.
struct ratio {
  std::string section, label;
  std::vector<row_key> above;
  row_key below;
};

inline const timed_case* find(const std::vector<timed_case>& cases, const std::string& section, const std::string& row,
                              const std::string& column) {
  for (const timed_case& c : cases)
    if (c.section == section && c.row == row && c.column == column) return &c;
  return nullptr;
}

/// The values of a member of all cases of a section, each once, in the order in which they were added.
inline std::vector<std::string> distinct(const std::vector<timed_case>& cases, std::string timed_case::*member,
                                         const std::string& section = {}) {
  std::vector<std::string> values;
  for (const timed_case& c : cases)
    if ((section.empty() || c.section == section) && std::find(values.begin(), values.end(), c.*member) == values.end())
      values.push_back(c.*member);
  return values;
}

inline double rate(const timed_case& c) {
  return c.work / c.median() / (std::string_view(c.unit) == "TOPS" ? 1e6 : 1e3);
}

/// Printed in one piece each: a section is a table of rows and columns, in microseconds of a launch.
inline void print_tables(const std::vector<timed_case>& cases, const std::vector<ratio>& ratios) {
  for (const std::string& section : distinct(cases, &timed_case::section)) {
    const std::vector<std::string> columns = distinct(cases, &timed_case::column, section);
    const bool list = columns.size() == 1 && columns[0] == "us";
    std::printf("\n## %s\n\n| us |", section.c_str());
    if (list)
      std::printf(" | |\n|---|---|---|\n");
    else {
      for (const std::string& column : columns) std::printf(" %s |", column.c_str());
      std::printf("\n|---|");
      for (std::size_t i = 0; i < columns.size(); ++i) std::printf("---|");
      std::printf("\n");
    }
    const auto print_row = [&](const std::string& label, const auto& value, int digits) {
      std::printf("| %s |", label.c_str());
      for (const std::string& column : columns) {
        const double v = value(column);
        if (v > 0)
          std::printf(" %.*f |", digits, v);
        else
          std::printf(" |");
      }
      std::printf("\n");
    };
    for (const std::string& row : distinct(cases, &timed_case::row, section)) {
      if (list) {
        const timed_case* c = find(cases, section, row, "us");
        std::printf("| %s | %.2f |", row.c_str(), c->median());
        if (c->work > 0) std::printf(" %.0f %s", rate(*c), c->unit);
        std::printf(" |\n");
        continue;
      }
      bool has_work = false;
      std::string unit;
      print_row(
          row,
          [&](const std::string& column) {
            const timed_case* c = find(cases, section, row, column);
            if (c != nullptr && c->work > 0) has_work = true, unit = c->unit;
            return c != nullptr ? c->median() : 0;
          },
          2);
      if (has_work)
        print_row(
            row + ", " + unit,
            [&](const std::string& column) {
              const timed_case* c = find(cases, section, row, column);
              return c != nullptr ? rate(*c) : 0;
            },
            0);
    }
    for (const ratio& r : ratios) {
      if (r.section != section) continue;
      const auto quotient = [&](const std::string& column) {
        const timed_case* below = find(cases, r.below.section, r.below.row, column);
        double least = INFINITY;
        for (const row_key& key : r.above) {
          const timed_case* above = find(cases, key.section, key.row, column);
          if (above != nullptr) least = std::min(least, above->median());
        }
        return below != nullptr && std::isfinite(least) ? least / below->median() : 0;
      };
      if (std::any_of(columns.begin(), columns.end(), [&](const std::string& column) { return quotient(column) > 0; }))
        print_row(r.label, quotient, 2);
    }
  }
}

/// An array of objects: where a case stands, and quantiles of the microseconds of a launch over the replays.
inline void write_json(const std::vector<timed_case>& cases, const std::string& path) {
  std::ofstream out(path);
  const char* separator = "[\n";
  for (const timed_case& c : cases) {
    out << separator << "{\"section\": \"" << c.section << "\", \"row\": \"" << c.row << "\", \"column\": \""
        << c.column << "\", \"sustained\": " << (c.sustained ? "true" : "false")
        << ", \"launches\": " << c.replayed.launches() << ", \"replays\": " << c.us.size()
        << ", \"least\": " << c.quantile(0) << ", \"quarter\": " << c.quantile(0.25) << ", \"median\": " << c.median()
        << ", \"three_quarters\": " << c.quantile(0.75) << ", \"most\": " << c.quantile(1) << "}";
    separator = ",\n";
  }
  out << (cases.empty() ? "[]\n" : "\n]\n");
}

}  // namespace tern_bench
