// SPDX-License-Identifier: MIT
/// A float multilayer perceptron in Eigen and its training, in full precision or quantisation-aware.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <vector>

#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#include "dataset.hpp"
#include "random.hpp"

namespace demo {

/// One fully connected layer: y = x W^T + bias.
struct dense {
  matrix weight;            ///< [outputs x inputs], as tern takes it
  Eigen::RowVectorXf bias;  ///< [outputs]
};

/// Dense layers with a ReLU between them. The last one gives a score per class.
using mlp = std::vector<dense>;

/// Draws the weights of a network with the given layer sizes: uniform, variance 2 / inputs (He), biases zero.
inline mlp random_mlp(const std::vector<Eigen::Index>& sizes, random_source& random) {
  mlp net;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
    const float limit = std::sqrt(6.0f / static_cast<float>(sizes[l]));
    net.push_back({matrix(sizes[l + 1], sizes[l]), Eigen::RowVectorXf::Zero(sizes[l + 1])});
    for (float& w : net.back().weight.reshaped()) w = limit * (2.0f * random.uniform() - 1.0f);
  }
  return net;
}

/// x W^T + bias: x [images x inputs], w [outputs x inputs].
inline matrix affine(const matrix& x, const matrix& w, const Eigen::RowVectorXf& bias) {
  matrix y = bias.replicate(x.rows(), 1);
  y.noalias() += x * w.transpose();
  return y;
}

/// Evaluates the network in float: x [images x inputs] gives scores [images x classes].
inline matrix forward(const mlp& net, matrix x) {
  for (std::size_t l = 0; l < net.size(); ++l) {
    x = affine(x, net[l].weight, net[l].bias);
    if (l + 1 < net.size()) x = x.cwiseMax(0.0f).eval();
  }
  return x;
}

/// Counts the images whose largest score is at their label.
inline int count_correct(const Eigen::Ref<const matrix>& scores, const std::vector<int>& labels) {
  int correct = 0;
  for (Eigen::Index i = 0; i < scores.rows(); ++i) {
    Eigen::Index best = 0;
    scores.row(i).maxCoeff(&best);
    correct += best == labels[static_cast<std::size_t>(i)] ? 1 : 0;
  }
  return correct;
}

/// How a network is trained: cross entropy with label smoothing, Adam, a learning rate that falls to zero along a cosine.
struct training {
  int epochs = 80;
  Eigen::Index batch = 64;
  float rate = 5e-3f;          ///< of Adam, at the start
  float smoothing = 0.1f;      ///< the part of a label's probability that is spread over all classes
  Eigen::Index max_shift = 1;  ///< pixels: half of the time an image is moved by up to so many, up or down and sideways
  bool ternary = false;        ///< quantisation-aware: W1.58A8 forward, straight through backward, float master weights
};

/// The Adam optimiser of one array of parameters.
///
/// Source: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.
class adam {
 public:
  explicit adam(Eigen::Index size) : mean_(Eigen::ArrayXf::Zero(size)), square_(Eigen::ArrayXf::Zero(size)) {}

  void step(float* parameters, const float* gradient, float rate) {
    constexpr float keep_mean = 0.9f;
    constexpr float keep_square = 0.999f;
    constexpr float least_root = 1e-8f;
    Eigen::Map<Eigen::ArrayXf> p(parameters, mean_.size());
    const Eigen::Map<const Eigen::ArrayXf> g(gradient, mean_.size());
    mean_weight_ *= keep_mean;
    square_weight_ *= keep_square;
    mean_ = keep_mean * mean_ + (1.0f - keep_mean) * g;
    square_ = keep_square * square_ + (1.0f - keep_square) * g.square();
    const float unbias = std::sqrt(1.0f - square_weight_) / (1.0f - mean_weight_);
    p -= rate * unbias * mean_ / (square_.sqrt() + least_root);
  }

 private:
  Eigen::ArrayXf mean_;
  Eigen::ArrayXf square_;
  float mean_weight_ = 1.0f;  ///< what the zeros at the start still weigh in mean_, and in square_
  float square_weight_ = 1.0f;
};

/// Copies an image moved by (dx, dy) pixels; what comes in from outside is black.
inline void copy_shifted(const float* from, float* to, Eigen::Index side, Eigen::Index dx, Eigen::Index dy) {
  for (Eigen::Index y = 0; y < side; ++y)
    for (Eigen::Index x = 0; x < side; ++x) {
      const Eigen::Index sx = x - dx;
      const Eigen::Index sy = y - dy;
      const bool inside = sx >= 0 && sx < side && sy >= 0 && sy < side;
      to[y * side + x] = inside ? from[sy * side + sx] : 0.0f;
    }
}

/// One network in training.
class trainer {
 public:
  trainer(mlp& net, const training& options)
      : net_(net), options_(options), activations_(net.size()), inputs_(net.size()), weights_(net.size()) {
    for (const dense& layer : net) {
      weight_steps_.emplace_back(layer.weight.size());
      bias_steps_.emplace_back(layer.bias.size());
    }
  }

  /// Runs a batch forward and backward, and moves the parameters against the gradient of the mean loss.
  void step(const matrix& images, const std::vector<int>& labels, float rate) {
    matrix gradient = loss_gradient(run_forward(images), labels);
    for (std::size_t l = net_.size(); l-- > 0;) {
      // Straight through: the gradients with respect to quantised inputs and weights pass for those of the float ones.
      matrix weight_gradient(net_[l].weight.rows(), net_[l].weight.cols());
      weight_gradient.noalias() = gradient.transpose() * inputs_[l];
      const Eigen::RowVectorXf bias_gradient = gradient.colwise().sum();
      if (l > 0) {
        matrix input_gradient(gradient.rows(), net_[l].weight.cols());
        input_gradient.noalias() = gradient * weights_[l];
        gradient = (activations_[l].array() > 0.0f).select(tern::ste_backward(input_gradient), 0.0f);  // of the ReLU
      }
      weight_steps_[l].step(net_[l].weight.data(), tern::ste_backward(weight_gradient).data(), rate);
      bias_steps_[l].step(net_[l].bias.data(), bias_gradient.data(), rate);
    }
  }

 private:
  static matrix copy(const tern::matrix<float>& m) {
    return Eigen::Map<const matrix>(m.data(), static_cast<Eigen::Index>(m.rows()), static_cast<Eigen::Index>(m.cols()));
  }

  /// Keeps what the way back needs. Ternary layers compute with the values that the packed layers will compute with.
  matrix run_forward(matrix x) {
    for (std::size_t l = 0; l < net_.size(); ++l) {
      activations_[l] = x;
      inputs_[l] = options_.ternary ? copy(tern::fake_quantize_activations(x)) : x;
      weights_[l] = options_.ternary ? copy(tern::fake_quantize_absmean(net_[l].weight)) : net_[l].weight;
      x = affine(inputs_[l], weights_[l], net_[l].bias);
      if (l + 1 < net_.size()) x = x.cwiseMax(0.0f).eval();
    }
    return x;
  }

  /// The gradient of the mean cross entropy with respect to the scores: (softmax(scores) - target) / images.
  matrix loss_gradient(const matrix& scores, const std::vector<int>& labels) const {
    matrix gradient = (scores.colwise() - scores.rowwise().maxCoeff()).array().exp();
    gradient.array().colwise() /= gradient.rowwise().sum().array().eval();
    gradient.array() -= options_.smoothing / static_cast<float>(scores.cols());
    for (Eigen::Index i = 0; i < scores.rows(); ++i)
      gradient(i, labels[static_cast<std::size_t>(i)]) -= 1.0f - options_.smoothing;
    return gradient / static_cast<float>(scores.rows());
  }

  mlp& net_;
  training options_;
  std::vector<matrix> activations_;  ///< what each layer was given
  std::vector<matrix> inputs_;       ///< what it computed with: the same, or quantised
  std::vector<matrix> weights_;
  std::vector<adam> weight_steps_;
  std::vector<adam> bias_steps_;
};

/// Trains the network on the images. Calls on_step(part of the work done) after each batch.
///
/// @param side  images are side x side pixels
template <class OnStep>
void train(mlp& net, const image_set& images, Eigen::Index side, const training& options, random_source& random,
           OnStep on_step) {
  trainer trainer(net, options);
  std::vector<std::size_t> order(images.labels.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const Eigen::Index batches = images.size() / options.batch;
  const auto steps = static_cast<float>(batches * options.epochs);
  const auto shifts = static_cast<std::uint32_t>(2 * options.max_shift + 1);
  const auto draw_shift = [&] { return static_cast<Eigen::Index>(random.below(shifts)) - options.max_shift; };
  matrix pixels(options.batch, images.pixels.cols());
  std::vector<int> labels(static_cast<std::size_t>(options.batch));
  float done = 0.0f;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    random.shuffle(order);
    auto next = order.begin();
    for (Eigen::Index b = 0; b < batches; ++b) {
      for (Eigen::Index i = 0; i < options.batch; ++i, ++next) {
        const bool moved = options.max_shift > 0 && random.below(2) == 0;
        const Eigen::Index dx = moved ? draw_shift() : 0;
        const Eigen::Index dy = moved ? draw_shift() : 0;
        copy_shifted(images.pixels.row(static_cast<Eigen::Index>(*next)).data(), pixels.row(i).data(), side, dx, dy);
        labels[static_cast<std::size_t>(i)] = images.labels[*next];
      }
      const float falling = 0.5f * (1.0f + std::cos(std::numbers::pi_v<float> * done / steps));
      trainer.step(pixels, labels, options.rate * falling);
      done += 1.0f;
      on_step(done / steps);
    }
  }
}

}  // namespace demo
