"""What differs between providers, as plain values; `recipe` reads them from `catalogs/*.toml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Literal

from s1s2.bands import Band, Sensor, bands_of
from s1s2.errors import CatalogError

ITEMS_SUFFIXES = (".json", ".geojson", ".parquet", ".geoparquet")
SANDBOX = "http://sandbox.invalid"
"""Where the sandbox's hrefs point: a name that never resolves (RFC 2606), whatever its port."""


@dataclass(frozen=True)
class Product:
    """One sensor's collection in a catalog."""

    collection: str = ""
    """STAC collection id; empty where the catalog lacks the product."""
    assets: Mapping[Band, str] = field(default_factory=dict)
    """Asset key of every band."""
    offset: Literal["baseline", "applied"] = "baseline"
    """Sentinel-2 radiometric offset: `baseline` subtracts 1000 from processing baseline 04.00 on,
    `applied` says that the provider has already done so."""
    lacks: str = ""
    """Why the catalog has no such product, where it has none."""


@dataclass(frozen=True)
class Budget:
    """How hard one run may press a provider, whatever its number of processes."""

    in_flight: int = 4
    """Searches under way at once."""
    per_second: float = 4.0
    """Searches started a second."""
    reads: int = 512
    """Requests for parts of files under way at once."""

    def __post_init__(self) -> None:
        if min(self.in_flight, self.reads) < 1 or self.per_second <= 0:
            msg = (
                f"budget: in_flight {self.in_flight}, per_second {self.per_second} and reads "
                f"{self.reads} must be > 0"
            )
            raise CatalogError(msg)

    def shared_by(self, jobs: int) -> "Budget":
        """Return what each of so many jobs may do at the same time.

        Examples:
            >>> Budget(in_flight=4, per_second=4.0).shared_by(8)
            Budget(in_flight=1, per_second=0.5, reads=64)
        """
        each = max(1, self.in_flight // jobs), self.per_second / jobs
        return Budget(*each, reads=max(1, self.reads // jobs))


@dataclass(frozen=True)
class Catalog:
    """One source of scenes: a STAC API, or a file or folder of STAC items."""

    name: str
    s1: Product
    s2: Product
    title: str = ""
    licence: str = ""
    """Licence and attribution of the data, for the corpus card."""
    endpoint: str = ""
    """Root of a STAC API; empty for a catalog of items."""
    items: str = ""
    """Absolute path of an ItemCollection, a stac-geoparquet file, or a folder of either."""
    signing: Literal["none", "planetary-computer"] = "none"
    hosts: tuple[str, ...] = ()
    """Hosts that pixels may be read from, or folders on them (`HOST/FOLDER`), `*` allowed in the
    host; everything else is refused."""
    own_hosts: tuple[str, ...] = ()
    """More of them, which may lie at private addresses: in a network of one's own."""
    folders: tuple[str, ...] = ()
    """Absolute local folders that pixels may be read from."""
    budget: Budget = field(default_factory=Budget)
    simulated: bool = False
    """True where the pixels are made up, so that everything shown says so."""
    sandbox: bool = False
    """True where this package serves the catalog itself, on this machine."""
    address: str = field(default="", compare=False)
    """Where the sandbox listens now, `http://127.0.0.1:PORT`; never kept."""

    def __post_init__(self) -> None:
        if bool(self.endpoint) == bool(self.items):
            msg = f"catalog {self.name}: give one of endpoint (a STAC API) and items (a path)"
            raise CatalogError(msg)
        for sensor in Sensor:
            product = self.product(sensor)
            missing = [b for b in bands_of(sensor) if b not in product.assets]
            if product.collection and missing:
                names = ", ".join(missing)
                msg = (
                    f"catalog {self.name}: [{sensor}.assets] names no asset key for {names}: "
                    f"every one of {', '.join(bands_of(sensor))} is needed"
                )
                raise CatalogError(msg)
            if not product.collection and not product.lacks:
                msg = f"catalog {self.name}: [{sensor}] needs a collection, or lacks = 'why not'"
                raise CatalogError(msg)

    @property
    def search_key(self) -> str:
        """What decides the scenes a search finds; who may be asked how fast is no part of it."""
        return repr((self.name, self.endpoint, self.items, self.s1, self.s2))

    def located(self, href: str) -> str:
        """Return where an href is found now: the sandbox's name becomes its address.

        Raises:
            CatalogError: If the sandbox is not being served.
        """
        if not self.sandbox or not href.startswith(f"{SANDBOX}/"):
            return href
        if not self.address:
            msg = f"catalog {self.name}: the sandbox is not running; s1s2 starts it for a command"
            raise CatalogError(msg)
        return self.address + href.removeprefix(SANDBOX)

    def unlocated(self, href: str) -> str:
        """Return an href as it may be kept: the sandbox's address becomes its name."""
        here = f"{self.address}/"
        return SANDBOX + href[len(here) - 1 :] if self.address and href.startswith(here) else href

    def product(self, sensor: Sensor) -> Product:
        """Return this catalog's product of one sensor."""
        return self.s1 if sensor is Sensor.S1 else self.s2

    def allows(self, host: str, path: str) -> bool:
        """Say whether pixels may be read from a path of a host.

        Args:
            host: Name, with `:port` where not the default.
            path: As in the URL, with its first slash.
        """
        for allowed in (*self.hosts, *self.own_hosts):
            pattern, _, folder = allowed.partition("/")
            folder = f"/{folder.strip('/')}/" if folder else "/"
            if fnmatch(host.lower(), pattern.lower()) and path.startswith(folder):
                return True
        return False

    def owns_host(self, host: str) -> bool:
        """Say whether a host is one of the user's own, which may lie at a private address."""
        return any(host.lower() == own.partition("/")[0].lower() for own in self.own_hosts)


def require(catalog: Catalog, sensor: Sensor) -> Product:
    """Return a catalog's product of one sensor, or say what it lacks.

    Raises:
        CatalogError: If the catalog has no such product.
    """
    product = catalog.product(sensor)
    if not product.collection:
        msg = (
            f"catalog {catalog.name} has no {sensor.title} product that can be paired "
            f"({product.lacks}): name another catalog for it with --{sensor}-catalog NAME"
        )
        raise CatalogError(msg)
    return product


PLANETARY_COMPUTER_S2 = Product(
    collection="sentinel-2-l2a", assets={b: b.value for b in bands_of(Sensor.S2)}
)
PLANETARY_COMPUTER_S1 = Product(collection="sentinel-1-rtc", assets={Band.VV: "vv", Band.VH: "vh"})
"""The shape assumed of a bare file or folder of items; anything else is described in a TOML."""
