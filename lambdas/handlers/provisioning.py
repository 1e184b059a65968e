"""The function that people call."""

from mangum import Mangum

from lambdas.api.provisioning.app import provisioning_app
from lambdas.services.services import Services

handler = Mangum(provisioning_app(Services.make()), lifespan="off")
