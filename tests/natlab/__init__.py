"""A small internet in network namespaces: one segment, the edge between outside and inside, endpoints behind NATs."""

from .kinds import KINDS, Kind
from .namespace import Namespace, ahead, remove_matching
from .office import Office, OfficeAddresses
from .topology import Addresses, Lab

__all__ = ["KINDS", "Addresses", "Kind", "Lab", "Namespace", "Office", "OfficeAddresses", "ahead", "remove_matching"]
