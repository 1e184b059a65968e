"""The function that people call."""

from mangum import Mangum

from lambdas.api.apps import provisioning_app
from lambdas.api.services import Services

handler = Mangum(provisioning_app(Services()), lifespan="off")
