"""The table of all operators. Each family has a file; nothing registers itself."""

from __future__ import annotations

from collections.abc import Mapping

from ..op import Op
from .activation import ACTIVATION
from .adaptive import ADAPTIVE
from .attention import ATTENTIONS
from .bag import EMBEDDING_BAG
from .batch_norm import BATCH_NORM
from .bitwise import BITWISE
from .compare import COMPARE
from .constant import CONSTANT
from .conv import CONVOLUTION
from .cross_entropy import CLASSES
from .dynamic import DYNAMIC
from .einsum import EINSUM
from .elementwise import ELEMENTWISE
from .function import FUNCTION
from .index import INDEX
from .inverse import INVERSE
from .join import JOIN
from .linear import LINEAR_ALGEBRA
from .loss import LOSS
from .metric import METRIC
from .noise import NOISE
from .norm import NORM
from .order import ORDER
from .pixel import PIXEL
from .pool import POOL
from .position import POSITION
from .random import RANDOM
from .recurrent import RECURRENT
from .reduce import REDUCE
from .rescale import RESCALE
from .resize import RESIZES
from .roll import ROLLS
from .sample import SAMPLING
from .scatter import SCATTERS
from .sequence import SEQUENCE
from .shape import SHAPE
from .shrink import SHRINK
from .similarity import NORMS, SIMILARITY
from .softmax import SOFTMAXES
from .statistic import STATISTIC
from .surround import SURROUND
from .window import WINDOW

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        CONSTANT,
        *ELEMENTWISE,
        *COMPARE,
        *FUNCTION,
        *INVERSE,
        *BITWISE,
        *REDUCE,
        *STATISTIC,
        *NORMS,
        *ACTIVATION,
        *SOFTMAXES,
        *SHRINK,
        *CLASSES,
        *LOSS,
        *METRIC,
        *SHAPE,
        *JOIN,
        *ROLLS,
        *INDEX,
        EMBEDDING_BAG,
        *SCATTERS,
        *DYNAMIC,
        *SEQUENCE,
        *ORDER,
        *LINEAR_ALGEBRA,
        EINSUM,
        *SIMILARITY,
        *WINDOW,
        *CONVOLUTION,
        *POOL,
        *ADAPTIVE,
        *RESIZES,
        *PIXEL,
        *SAMPLING,
        *SURROUND,
        BATCH_NORM,
        *NORM,
        *RESCALE,
        *ATTENTIONS,
        *RECURRENT,
        *POSITION,
        *RANDOM,
        *NOISE,
    )
}
"""Every operator by its name in the language."""
