"""Self-contained HTML pages made from runs."""

from landsift.extras import needs

needs("jinja2", "pandas", "plotly", "pyarrow", "scipy", extra="report", what="a report")
