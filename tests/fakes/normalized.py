"""A normalizer with the kinds that come with the forwarder, and no others."""

from forwarder.normalizers import Catalogue, CatalogueNormalizer

normalize = CatalogueNormalizer(Catalogue())
