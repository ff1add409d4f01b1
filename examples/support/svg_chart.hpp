// SPDX-License-Identifier: MIT
/// A scatter chart of several panels with one logarithmic x axis, as an SVG file.
#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace demo {

enum class marker { circle, square, diamond, triangle_up, triangle_down };

struct chart_point {
  double x = 0;
  std::vector<double> y;            ///< one value per panel; infinite ones are left out
  std::vector<std::string> labels;  ///< one per panel, drawn beside the point; may be empty
};

struct chart_series {
  std::string name;
  std::string colour;
  marker shape = marker::circle;
  bool joined = false;  ///< a line leads from point to point
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
  std::vector<chart_panel> panels;
  std::vector<chart_series> series;
};

/// Draws a chart, panel by panel.
class svg_writer {
 public:
  explicit svg_writer(const chart& chart) : chart_(chart) {
    emit(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
         R"(font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#333">)",
         width(), height);
    emit(R"(<rect width="{}" height="{}" fill="white"/>)", width(), height);
    text(margin, 28, "start", chart.title, R"( font-size="16" font-weight="bold")");
    for (std::size_t p = 0; p < chart.panels.size(); ++p) draw_panel(p);
    draw_legend();
    emit("</svg>");
  }

  const std::string& svg() const { return svg_; }

 private:
  static constexpr double margin = 48;
  static constexpr double panel_width = 380;
  static constexpr double top = 76;
  static constexpr double bottom = 356;
  static constexpr double height = 436;

  double width() const { return margin + static_cast<double>(chart_.panels.size()) * (panel_width + margin); }

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
    }
    emit(R"(<path d="M{:.1f} {:.1f}{}" fill="{}" fill-opacity="0.85" stroke="white"/>)", x, y, path, series.colour);
  }

  void draw_panel(std::size_t p) {
    const chart_panel& panel = chart_.panels[p];
    const double left = margin + static_cast<double>(p) * (panel_width + margin);
    const double right = left + panel_width;

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

    constexpr double room = 1.4;
    const double x_low = std::log(chart_.x_ticks.front() / room);
    const double x_high = std::log(chart_.x_ticks.back() * room);
    const auto x_of = [&](double x) { return left + (std::log(x) - x_low) / (x_high - x_low) * panel_width; };
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

    for (const chart_series& series : chart_.series) {
      if (series.joined) {
        std::string path;
        for (const chart_point& point : series.points)
          path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', x_of(point.x), y_of(point.y[p]));
        emit(R"(<path d="{}" fill="none" stroke="{}" stroke-width="1.5"/>)", path, series.colour);
      }
      for (const chart_point& point : series.points) {
        if (!std::isfinite(point.y[p])) continue;
        draw_marker(series, x_of(point.x), y_of(point.y[p]));
        text(x_of(point.x) + 9, y_of(point.y[p]) + 12, "start", point.labels[p], R"( font-size="11")");
      }
    }
  }

  /// Gives each name room in proportion to its letters; the marker and the gap count as six.
  void draw_legend() {
    const auto letters = [](const chart_series& series) { return static_cast<double>(series.name.size() + 6); };
    double all = 0;
    for (const chart_series& series : chart_.series) all += letters(series);
    double x = margin + 5;
    for (const chart_series& series : chart_.series) {
      draw_marker(series, x, height - 18);
      text(x + 11, height - 14, "start", series.name);
      x += (width() - 2 * margin) * letters(series) / all;
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
