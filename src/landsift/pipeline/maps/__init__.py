"""Maps of many scenes on a Flyte cluster: a task per scene, and a schedule."""

from landsift.extras import needs

needs("flyte", extra="pipeline", what="`landsift map --remote`")
