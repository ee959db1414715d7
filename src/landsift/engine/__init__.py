"""What runs a function on many items: in this process, in several processes of this machine, or on others' machines.

    with engine.open("local", workers=4) as e:
        for item, result in e.unordered(function, items):
            ...

Functions are a module's own, items and results are small and can be pickled. Several processes are Dask's
(docs/decisions/0021-engine.md), which is imported only where more than one is needed.
"""

from landsift.engine.engine import check as check
from landsift.engine.engine import open as open
from landsift.engine.interface import Engine as Engine
from landsift.engine.interface import EngineLostError as EngineLostError
from landsift.engine.interface import WorkerLostError as WorkerLostError
from landsift.engine.options import LOCAL as LOCAL
from landsift.engine.options import EngineOptions as EngineOptions
