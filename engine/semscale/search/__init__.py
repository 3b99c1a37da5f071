"""Every question about pairs of stored vectors, answered exactly."""

from semscale.search.exact import Neighbours, Pairs, pairs_above, top_k
from semscale.search.groups import Groups
from semscale.search.products import FLOAT32, Products
from semscale.search.recheck import EQUAL
from semscale.search.tiles import Tuning

__all__ = ["EQUAL", "FLOAT32", "Groups", "Neighbours", "Pairs", "Products", "Tuning", "pairs_above", "top_k"]
