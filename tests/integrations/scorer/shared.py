"""A model reference that is made before BentoML is imported."""

import bentosync


class Named:
    eager = bentosync.models.get("eager")
