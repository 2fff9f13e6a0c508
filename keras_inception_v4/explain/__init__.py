"""Maps of where a model sees a class: class activation map, Grad-CAM and occlusion."""

from keras_inception_v4.explain.cam import class_activation_map
from keras_inception_v4.explain.curves import Faithfulness, faithfulness
from keras_inception_v4.explain.drawing import endpoint_as_drawn, enlarged, overlay
from keras_inception_v4.explain.gradcam import LAST, grad_cam
from keras_inception_v4.explain.occlusion import occlusion_map

__all__ = [
    "LAST",
    "Faithfulness",
    "class_activation_map",
    "endpoint_as_drawn",
    "enlarged",
    "faithfulness",
    "grad_cam",
    "occlusion_map",
    "overlay",
]
