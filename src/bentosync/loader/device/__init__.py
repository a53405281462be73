"""Devices: where memory comes from, how bytes get there, and what a tensor is. Only `framework` imports torch."""

from bentosync.loader.device.backend import ALIGN_BYTES as ALIGN_BYTES
from bentosync.loader.device.backend import Backend as Backend
from bentosync.loader.device.backend import Event as Event
from bentosync.loader.device.backend import HostMemory as HostMemory
from bentosync.loader.device.backend import PinRefused as PinRefused
from bentosync.loader.device.block import Block as Block
from bentosync.loader.device.block import view as view
from bentosync.loader.device.choice import backend_for as backend_for
from bentosync.loader.device.choice import parse_device as parse_device
from bentosync.loader.device.choice import why_no_cuda as why_no_cuda
from bentosync.loader.device.dtypes import DType as DType
from bentosync.loader.device.dtypes import cast as cast
from bentosync.loader.device.dtypes import check_dtypes as check_dtypes
from bentosync.loader.device.dtypes import parse_dtype as parse_dtype
from bentosync.loader.device.framework import Tensor as Tensor
from bentosync.loader.device.host import anonymous as anonymous
from bentosync.loader.device.host import pageable as pageable
from bentosync.loader.device.host import populate as populate
from bentosync.loader.device.mapping import mapped as mapped
