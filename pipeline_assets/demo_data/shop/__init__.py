"""A simulated shop: who its users are and when their profiles change (`users`), what it sells
(`products`), what is shown and clicked on a day (`impressions`), what is wrong with bad rows (`bad_rows`).

Clicks are drawn from a probability that depends on nothing but what the files of the three sources
say: where and when a product was shown, its row in the catalogue, and the user's profile as of that
time. No model can do better than this probability, and one that joins the wrong version does worse.
"""

from pipeline_assets.demo_data.shop.impressions import Day, Shop, ShopSettings

__all__ = ["Day", "Shop", "ShopSettings"]
