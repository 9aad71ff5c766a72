// SPDX-License-Identifier: Apache-2.0
// The networks that come with tanul: as C++ functions and as model files, the same layers and the
// published numbers of parameters.
#include "tanul/models.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "support/expect_error.h"
#include "tanul/tanul.h"

namespace tanul {
namespace {

struct Known {
  const char* file;  // examples/models/<file>.toml
  Model (*make)();
  int64_t parameters;
};

template <auto kFunction>
Model plain() {
  return kFunction(10);
}
template <auto kFunction, int kDepth, int64_t kClasses>
Model deep() {
  return kFunction(kDepth, kClasses);
}
template <auto kFunction, int64_t kClasses>
Model wide() {
  return kFunction(kClasses);
}

// Sources: LeNet-5, Caffe's LeNet and AlexNet: the sums of their papers' and recipes' layers; VGG, ResNet,
// AlexNet (one tower), MobileNetV2: torchvision's documentation; CIFAR ResNets: table 6 of He et al. 2015
// (0.27M, 0.46M, 0.66M, 0.85M); cifar10-quick and the three below MobileNetV2: counted by hand.
const Known kKnown[] = {
    {"lenet5", plain<models::lenet5>, 61'706},
    {"caffe_lenet", plain<models::caffe_lenet>, 431'080},
    {"mlp", plain<models::mlp>, 1'863'690},
    {"alexnet_2012", wide<models::alexnet_2012, 1000>, 60'965'224},
    {"alexnet", wide<models::alexnet, 1000>, 61'100'840},
    {"vgg11", deep<models::vgg, 11, 1000>, 132'863'336},
    {"vgg13", deep<models::vgg, 13, 1000>, 133'047'848},
    {"vgg16", deep<models::vgg, 16, 1000>, 138'357'544},
    {"vgg19", deep<models::vgg, 19, 1000>, 143'667'240},
    {"vgg_bn_small", plain<models::vgg_bn_small>, 3'249'994},
    {"cifar10_quick", plain<models::cifar10_quick>, 145'578},
    {"cifar_resnet20", deep<models::cifar_resnet, 20, 10>, 269'722},
    {"cifar_resnet32", deep<models::cifar_resnet, 32, 10>, 464'154},
    {"cifar_resnet44", deep<models::cifar_resnet, 44, 10>, 658'586},
    {"cifar_resnet56", deep<models::cifar_resnet, 56, 10>, 853'018},
    {"resnet18", deep<models::resnet, 18, 1000>, 11'689'512},
    {"resnet34", deep<models::resnet, 34, 1000>, 21'797'672},
    {"resnet50", deep<models::resnet, 50, 1000>, 25'557'032},
    {"mobilenet_v2", wide<models::mobilenet_v2, 1000>, 3'504'872},
    {"all_cnn", plain<models::all_cnn>, 1'369'738},
    {"sensor_net", wide<models::sensor_net, 6>, 53'766},
    {"clip_net", plain<models::clip_net>, 71'290},
    {"autoencoder", [] { return models::autoencoder(); }, 115'217},
};

std::string path_of(const char* file) {
  return std::string(TANUL_SOURCE_DIR "/examples/models/") + file + ".toml";
}

// What a layer of a plan is, without its name.
std::vector<std::string> layers_of(const Model& model) {
  std::vector<std::string> layers;
  for (const LayerInfo& layer : make_plan(model, {.device = "cpu", .batch = 2}).layers) {
    layers.push_back(layer.description + " -> " + layer.output.str());
  }
  return layers;
}

TEST(Models, HaveTheirPublishedNumbersOfParameters) {
  for (const Known& known : kKnown) {
    SCOPED_TRACE(known.file);
    const Model model = known.make();
    EXPECT_EQ(model.name(), known.file);
    EXPECT_EQ(model.parameter_count(), known.parameters);
  }
}

TEST(Models, AreTheSameAsFilesAndAsFunctions) {
  for (const Known& known : kKnown) {
    SCOPED_TRACE(known.file);
    const Model from_file = load_recipe(path_of(known.file)).model;
    const Model from_code = known.make();
    EXPECT_EQ(from_file.name(), from_code.name());
    ASSERT_EQ(from_file.parameters().size(), from_code.parameters().size());
    for (size_t i = 0; i < from_file.parameters().size(); ++i) {
      const ParameterInfo& a = from_file.parameters()[i];
      const ParameterInfo& b = from_code.parameters()[i];
      EXPECT_EQ(a.shape, b.shape) << a.name << " and " << b.name;
    }
    EXPECT_EQ(layers_of(from_file), layers_of(from_code));
  }
}

TEST(Models, EveryFileIsKnownHere) {
  std::set<std::string> files;
  for (const Known& known : kKnown) files.insert(known.file);
  for (const auto& entry :
       std::filesystem::directory_iterator(TANUL_SOURCE_DIR "/examples/models")) {
    const std::string stem = entry.path().stem();
    if (stem == "resnet8") continue;  // an example of blocks without batch norm
    EXPECT_EQ(files.count(stem), 1u) << entry.path();
  }
}

TEST(Models, RefuseADepthThatDoesNotExist) {
  test::expect_error(Code::invalid_argument,
                     "vgg: there is no depth 12; 11, 13, 16 and 19 are known",
                     [] { models::vgg(12); });
  test::expect_error(Code::invalid_argument, "resnet: there is no depth 19",
                     [] { models::resnet(19); });
  test::expect_error(Code::invalid_argument, "cifar_resnet: there is no depth 18",
                     [] { models::cifar_resnet(18); });
}

// A few steps on random data: every kind of network learns something by heart (All-CNN does not in so
// few: its dropout is strong).
TEST(Models, TheSmallOnesLearnABatchByHeart) {
  for (const Model& model : {models::cifar10_quick(), models::cifar_resnet(20),
                             models::sensor_net(), models::clip_net()}) {
    SCOPED_TRACE(model.name());
    std::vector<int64_t> extents{8};
    for (int64_t extent : model.input_shape()) extents.push_back(extent);
    Tensor x{Shape(extents)};
    initialize(x, Init::normal(0, 1), 5, "samples");
    Tensor t({8}, DType::i32);
    const auto classes = static_cast<int32_t>(model.output_shape()[0]);
    for (int32_t i = 0; i < 8; ++i) t.data<int32_t>()[i] = (i * 3) % classes;
    Trainer trainer(model,
                    {.device = "cpu", .batch = 8, .optimizer = Adam{.lr = 2e-3f}, .threads = 2});
    const double first = trainer.step(x, t);
    double last = first;
    for (int step = 0; step < 30; ++step) last = trainer.step(x, t);
    EXPECT_LT(last, 0.7 * first);
  }
}

}  // namespace
}  // namespace tanul
