from connectors.adapters.base import Store
