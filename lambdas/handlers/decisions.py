"""The function that edges call."""

from mangum import Mangum

from lambdas.api.apps import decision_app
from lambdas.api.services import Services

handler = Mangum(decision_app(Services()), lifespan="off")
