"""The function that edges call."""

from mangum import Mangum

from lambdas.api.edges.app import decision_app
from lambdas.services.services import Services

handler = Mangum(decision_app(Services.make()), lifespan="off")
