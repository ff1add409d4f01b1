// SPDX-License-Identifier: MIT
/// A scatter chart of several panels with one x axis, as an SVG file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace demo {

enum class marker { circle, square, diamond, triangle_up, triangle_down, none };

struct chart_point {
  double x = 0;
  std::vector<double> y;            ///< one value per panel; infinite ones are left out
  std::vector<std::string> labels;  ///< one per panel, drawn beside the point; each, and the vector, may be empty
};

struct chart_series {
  std::string name;
  std::string colour;
  marker shape = marker::circle;
  bool joined = false;        ///< a line leads from point to point
  bool dashed = false;        ///< that line is dashed
  bool label_at_end = false;  ///< the name stands at the last point of each panel, instead of in the legend
  std::vector<chart_point> points = {};
};

struct chart_panel {
  std::string title;
  /// What the y axis holds besides the points; nothing by default.
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
};

struct chart {
  std::string title;
  std::string x_label;
  std::vector<double> x_ticks;  ///< ascending; they, with some room, are the range of the axis
  bool linear_x = false;        ///< else logarithmic
  std::size_t columns = 0;      ///< panels beside each other; 0: all of them
  std::vector<chart_panel> panels = {};
  std::vector<chart_series> series = {};
};

/// Draws a chart, panel by panel.
class svg_writer {
 public:
  explicit svg_writer(const chart& chart) : chart_(chart) {
    emit(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
         R"(font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#333">)",
         width(), height());
    emit(R"(<rect width="{}" height="{}" fill="white"/>)", width(), height());
    text(margin, 28, "start", chart.title, R"( font-size="16" font-weight="bold")");
    for (std::size_t p = 0; p < chart.panels.size(); ++p) draw_panel(p);
    draw_legend();
    emit("</svg>");
  }

  const std::string& svg() const { return svg_; }

 private:
  static constexpr double margin = 48;
  static constexpr double panel_width = 380;
  static constexpr double panel_height = 280;
  static constexpr double first_top = 76;
  static constexpr double line_height = panel_height + 84;  // with the title of a panel and the labels of its x axis
  static constexpr double legend_line = 22;
  static constexpr double end_label_width = 100;

  std::size_t columns() const { return chart_.columns == 0 ? chart_.panels.size() : chart_.columns; }
  double width() const { return margin + static_cast<double>(columns()) * (panel_width + margin); }
  double height() const {
    const std::size_t lines = (chart_.panels.size() + columns() - 1) / columns();
    const std::vector<legend_entry> entries = legend();
    const double legend_height = entries.empty() ? 10 : 34 + entries.back().line * legend_line;
    return first_top - 38 + static_cast<double>(lines) * line_height + legend_height;
  }

  template <class... Args>
  void emit(fmt::string_view format, const Args&... args) {
    fmt::vformat_to(std::back_inserter(svg_), format, fmt::make_format_args(args...));
    svg_ += '\n';
  }
  void text(double x, double y, const char* anchor, const std::string& content, const char* style = "") {
    emit(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor, style, content);
  }
  void line(double x1, double y1, double x2, double y2, const char* colour) {
    emit(R"(<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" stroke="{}"/>)", x1, y1, x2, y2, colour);
  }
  void draw_marker(const chart_series& series, double x, double y) {
    const char* path = nullptr;
    switch (series.shape) {
      case marker::circle:
        path = "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z";
        break;
      case marker::square:
        path = "m-4.5 -4.5h9v9h-9z";
        break;
      case marker::diamond:
        path = "m0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5z";
        break;
      case marker::triangle_up:
        path = "m0 -6.5l6 11h-12z";
        break;
      case marker::triangle_down:
        path = "m0 6.5l6 -11h-12z";
        break;
      case marker::none:
        return;
    }
    emit(R"(<path d="M{:.1f} {:.1f}{}" fill="{}" fill-opacity="0.85" stroke="white"/>)", x, y, path, series.colour);
  }

  void draw_panel(std::size_t p) {
    const chart_panel& panel = chart_.panels[p];
    const double left = margin + static_cast<double>(p % columns()) * (panel_width + margin);
    const bool end_labels = std::ranges::any_of(chart_.series, &chart_series::label_at_end);
    const double plot_width = panel_width - (end_labels ? end_label_width : 0);
    const double right = left + plot_width;
    const double top = first_top + static_cast<double>(p / columns()) * line_height;
    const double bottom = top + panel_height;

    double least = panel.least;
    double most = panel.most;
    for (const chart_series& series : chart_.series)
      for (const chart_point& point : series.points)
        if (std::isfinite(point.y[p])) least = std::min(least, point.y[p]), most = std::max(most, point.y[p]);
    constexpr double most_ticks = 7;
    double step = 1;
    for (const double candidate : {2.0, 5.0, 10.0, 20.0, 50.0, 100.0})
      if ((most - least) / step > most_ticks) step = candidate;
    double low = step * std::floor(least / step);
    if (least < panel.least && least - low < step / 2) low -= step;  // room for the label of the lowest point
    const double high = std::max(low + step, step * std::ceil(most / step));

    const auto along = [&](double x) { return chart_.linear_x ? x : std::log(x); };
    const double room = chart_.linear_x ? 0.5 : std::log(1.4);
    const double x_low = along(chart_.x_ticks.front()) - room;
    const double x_high = along(chart_.x_ticks.back()) + room;
    const auto x_of = [&](double x) { return left + (along(x) - x_low) / (x_high - x_low) * plot_width; };
    const auto y_of = [&](double y) { return bottom - (y - low) / (high - low) * (bottom - top); };

    text(left, top - 16, "start", panel.title, R"( font-size="13" font-weight="bold")");
    for (double y = low; y <= high + step / 2; y += step) {
      line(left, y_of(y), right, y_of(y), "#e4e4e4");
      text(left - 8, y_of(y) + 4, "end", fmt::format("{:.0f}", y));
    }
    line(left, bottom, right, bottom, "#333");
    for (const double x : chart_.x_ticks) {
      line(x_of(x), bottom, x_of(x), bottom + 5, "#333");
      text(x_of(x), bottom + 19, "middle", fmt::format("{:g}", x));
    }
    text((left + right) / 2, bottom + 38, "middle", chart_.x_label);

    std::vector<end_label> ends;
    for (const chart_series& series : chart_.series) {
      std::string path;
      end_label end{.series = &series};
      for (const chart_point& point : series.points) {
        if (!std::isfinite(point.y[p])) continue;
        end.x = x_of(point.x);
        end.y = y_of(point.y[p]);
        path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', end.x, end.y);
      }
      if (path.empty()) continue;
      if (series.joined)
        emit(R"(<path d="{}" fill="none" stroke="{}" stroke-width="1.5"{}/>)", path, series.colour,
             series.dashed ? R"( stroke-dasharray="5 4")" : "");
      if (series.label_at_end) ends.push_back(end);
      for (const chart_point& point : series.points) {
        if (!std::isfinite(point.y[p])) continue;
        draw_marker(series, x_of(point.x), y_of(point.y[p]));
        if (!point.labels.empty())
          text(x_of(point.x) + 9, y_of(point.y[p]) + 12, "start", point.labels[p], R"( font-size="11")");
      }
    }
    draw_end_labels(std::move(ends), right);
  }

  /// Where a series ends in a panel.
  struct end_label {
    const chart_series* series;
    double x = 0;
    double y = 0;
  };

  /// Names of series that end at the right of the plot stand in a column there, moved down where they would overlap;
  /// those of others beside their last points.
  void draw_end_labels(std::vector<end_label> ends, double right) {
    constexpr double column = 60;
    constexpr double least_distance = 13;
    std::ranges::sort(ends, {}, &end_label::y);
    double next = 0;
    for (const end_label& end : ends) {
      const bool in_column = end.x > right - column;
      const std::string style = fmt::format(
          R"( font-size="11" fill="{}" stroke="white" stroke-width="3" paint-order="stroke")", end.series->colour);
      const double y = in_column ? std::max(end.y + 4, next) : end.y - 9;
      text(in_column ? right + 10 : end.x + 4, y, in_column ? "start" : "end", end.series->name, style.c_str());
      if (in_column) next = y + least_distance;
    }
  }

  /// A name of the legend, and where its marker is.
  struct legend_entry {
    const chart_series* series;
    double x = 0;
    double line = 0;
  };

  /// Names side by side, in as many lines as they need.
  std::vector<legend_entry> legend() const {
    constexpr double letter_width = 6.6;
    std::vector<legend_entry> entries;
    double x = margin + 5;
    double line = 0;
    for (const chart_series& series : chart_.series) {
      if (series.label_at_end) continue;
      const double entry_width = letter_width * static_cast<double>(series.name.size()) + 36;
      if (x + entry_width > width() - margin / 2) x = margin + 5, ++line;
      entries.push_back({&series, x, line});
      x += entry_width;
    }
    return entries;
  }

  void draw_legend() {
    const std::vector<legend_entry> entries = legend();
    for (const legend_entry& entry : entries) {
      const double y = height() - 18 - (entries.back().line - entry.line) * legend_line;
      draw_marker(*entry.series, entry.x, y);
      text(entry.x + 11, y + 4, "start", entry.series->name);
    }
  }

  const chart& chart_;
  std::string svg_;
};

/// Errors: std::runtime_error when the file cannot be written.
inline void write_svg(const std::string& path, const chart& chart) {
  std::ofstream out(path);
  out << svg_writer(chart).svg();
  out.close();
  if (!out) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace demo
