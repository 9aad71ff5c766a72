// SPDX-License-Identifier: Apache-2.0
// Well-known networks, ready to train. Each is also a model file in examples/models, with a training
// recipe. All end in softmax cross-entropy over `classes`, unless said. Throws Error{invalid_argument}
// for a depth that does not exist.
#pragma once

#include <cstdint>

#include "tanul/export.h"
#include "tanul/model.h"

namespace tanul::models {

// LeNet-5 with ReLU and maximum pooling, {1, 28, 28}: 61,706 parameters.
// Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
// recognition", 1998.
TANUL_API Model lenet5(int64_t classes = 10);

// The LeNet of Caffe's MNIST example, {1, 28, 28}: 431,080 parameters.
TANUL_API Model caffe_lenet(int64_t classes = 10);

// A multilayer perceptron 784-1024-1024-classes, {1, 28, 28}: 1,863,690 parameters.
TANUL_API Model mlp(int64_t classes = 10);

// AlexNet as of 2012, two groups and local response normalisation, {3, 227, 227}: 60,965,224 parameters.
// A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural
// networks", 2012.
TANUL_API Model alexnet_2012(int64_t classes = 1000);

// AlexNet in one tower, {3, 224, 224}: 61,100,840 parameters. A. Krizhevsky, "One weird trick for
// parallelizing convolutional neural networks", 2014.
TANUL_API Model alexnet(int64_t classes = 1000);

// VGG-11, 13, 16, 19, {3, 224, 224}: 132,863,336; 133,047,848; 138,357,544; 143,667,240 parameters.
// K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.
TANUL_API Model vgg(int depth, int64_t classes = 1000);

// A VGG-like network with batch norm, {3, 32, 32}: 3,249,994 parameters.
TANUL_API Model vgg_bn_small(int64_t classes = 10);

// Caffe's cifar10-quick, {3, 32, 32}: 145,578 parameters.
TANUL_API Model cifar10_quick(int64_t classes = 10);

// ResNet-20, 32, 44, 56 for {3, 32, 32}, shortcuts without parameters (option A): 269,722; 464,154;
// 658,586; 853,018 parameters. K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image
// recognition", 2015, section 4.2.
TANUL_API Model cifar_resnet(int depth, int64_t classes = 10);

// ResNet-18, 34, 50, {3, 224, 224}: 11,689,512; 21,797,672; 25,557,032 parameters. ResNet-50 has its
// strides in the 3x3 convolutions.
TANUL_API Model resnet(int depth, int64_t classes = 1000);

// MobileNetV2 of width 1, {3, 224, 224}: 3,504,872 parameters. M. Sandler et al., "MobileNetV2: inverted
// residuals and linear bottlenecks", 2018.
TANUL_API Model mobilenet_v2(int64_t classes = 1000);

// All-CNN-C, {3, 32, 32}: 1,369,738 parameters. J. Springenberg et al., "Striving for simplicity: the all
// convolutional net", 2014.
TANUL_API Model all_cnn(int64_t classes = 10);

// A 1-d network for sensor signals, {6, 128}: 53,766 parameters for 6 classes.
TANUL_API Model sensor_net(int64_t classes = 6);

// A 3-d network for clips of 8 frames, {3, 8, 32, 32}: 71,290 parameters for 10 classes.
TANUL_API Model clip_net(int64_t classes = 10);

// A convolutional autoencoder, {1, 28, 28}, with a code of 32 numbers (layer "code"): 115,217 parameters.
// Its loss is the mean squared error; its targets are its samples.
TANUL_API Model autoencoder();

}  // namespace tanul::models
