"""ResNet-50 in Keras, in the style of keras.applications, written by hand."""

import keras
from keras import layers


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def block(
    x: keras.KerasTensor, filters: int, stride: int, shortcut: bool, name: str
) -> keras.KerasTensor:
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(x)
    y = layers.Activation("relu")(batch_norm(y, f"{name}_1_bn"))
    y = layers.ZeroPadding2D(1)(y)
    y = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(y)
    y = layers.Activation("relu")(batch_norm(y, f"{name}_2_bn"))
    y = layers.Conv2D(4 * filters, 1, use_bias=False, name=f"{name}_3_conv")(y)
    y = batch_norm(y, f"{name}_3_bn")
    if shortcut:
        x = layers.Conv2D(4 * filters, 1, strides=stride, use_bias=False, name=f"{name}_0_conv")(x)
        x = batch_norm(x, f"{name}_0_bn")
    return layers.Activation("relu")(layers.Add()([y, x]))


def build(classes: int = 1000) -> keras.Model:
    image = keras.Input((None, None, 3))
    x = layers.ZeroPadding2D(3)(image)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = layers.Activation("relu")(batch_norm(x, "conv1_bn"))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    stages = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
    for stage, (filters, blocks, stride) in enumerate(stages, 2):
        x = block(x, filters, stride, True, f"conv{stage}_block1")
        for i in range(2, blocks + 1):
            x = block(x, filters, 1, False, f"conv{stage}_block{i}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, name="predictions")(x))
