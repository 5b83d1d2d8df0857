"""Every shipped catalog answers and has the assets it declares. Run by make test-online."""

from datetime import UTC, datetime

import pytest

from s1s2.bands import Sensor, bands_of
from s1s2.grid import GridSpec, at_gsd, chip_geobox
from s1s2.items import scene_from_item
from s1s2.reader import CogReader
from s1s2.recipe import catalog_names, load_catalog
from s1s2.search import Query, open_source
from s1s2.transport import Pace

pytestmark = pytest.mark.online

PLACE = (9.8447, 57.2270)


@pytest.mark.parametrize("name", catalog_names())
@pytest.mark.parametrize("sensor", list(Sensor))
def test_a_catalog_answers_and_its_pixels_open(name: str, sensor: Sensor) -> None:
    catalog = load_catalog(name)
    if not catalog.product(sensor).collection:
        pytest.skip(f"{name} has no {sensor.title}: {catalog.product(sensor).lacks}")
    query = Query(
        sensor, (PLACE,), datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 13, tzinfo=UTC)
    )
    item = next(open_source(catalog, Pace(catalog.budget)).items(query))
    scene = scene_from_item(item, catalog, sensor)
    assert not scene.missing_bands
    with CogReader({catalog.name: catalog}) as reader:
        for band, own in reader.grids(scene, bands_of(sensor)).items():
            corner = own.affine @ (own.shape.x // 2, own.shape.y // 2)
            chip = chip_geobox(int(own.crs.epsg), *corner, GridSpec(64))
            assert reader.read(scene, {band: at_gsd(chip, band.gsd_m)})[band].data.size
        assert not reader.through_gdal, "every variant in use is decoded here"
